"""Base class of the recurrent layers."""

import keras
from keras import ops

from kdl.layers.recurrent._cell import RecurrentCell
from kdl.layers.recurrent._loop import run_steps


class RecurrentLayer(keras.layers.RNN):
    """Base of the layers: a `keras.layers.RNN` that knows its cell, as `keras.layers.LSTM` does.

    It calls the cell's maths and not the cell at each step, and reads the weights once. To multiply
    the inputs of all steps by the kernel before the loop gains nothing on a CPU: PyTorch is
    as fast, and the loops of TensorFlow and JAX, which then read and write the larger tensor, take
    up to twice as long.

    A subclass sets `cell_class`, and `cell_arguments`: names of the constructor's arguments that
    are the cell's.

    Args:
        units: Size of the states.
        activation: Of candidate and output.
        recurrent_activation: Of the gates.
        use_cudnn: `"auto"` or False, as `keras.layers.LSTM` has it; neither changes anything.
        **kwargs: Arguments of the cell and of `keras.layers.RNN`.
    """

    cell_class: type[RecurrentCell]
    cell_arguments: tuple[str, ...] = (
        "units",
        "activation",
        "recurrent_activation",
        "use_bias",
        "kernel_initializer",
        "recurrent_initializer",
        "bias_initializer",
        "peephole_initializer",
        "unit_forget_bias",
        "kernel_regularizer",
        "recurrent_regularizer",
        "bias_regularizer",
        "peephole_regularizer",
        "kernel_constraint",
        "recurrent_constraint",
        "bias_constraint",
        "peephole_constraint",
        "dropout",
        "recurrent_dropout",
        "seed",
    )

    def __init__(
        self,
        units,
        activation="tanh",
        recurrent_activation="sigmoid",
        use_cudnn="auto",
        **kwargs,
    ):
        if use_cudnn not in ("auto", False):
            raise ValueError(
                f"cuDNN has no {type(self).__name__}: use_cudnn must be 'auto' or False; received "
                f"{use_cudnn!r}."
            )
        cell = self.cell_class(
            units,
            activation,
            recurrent_activation,
            dtype=kwargs.get("dtype"),
            trainable=kwargs.get("trainable", True),
            name="cell",
            **{name: kwargs.pop(name) for name in self.cell_arguments if name in kwargs},
        )
        super().__init__(cell, **kwargs)
        self.use_cudnn = use_cudnn
        self.input_spec = keras.layers.InputSpec(ndim=3)

    @property
    def units(self):
        """Size of the states."""
        return self.cell.units

    def call(self, sequences, initial_state=None, mask=None, training=False):
        """Runs the cell over `(batch, time, features)`; states in the order `[h, c]`."""
        if sequences.shape[1] == 0:
            raise ValueError(
                f"{type(self).__name__} needs one time step or more; received sequences of the "
                f"shape {tuple(sequences.shape)}. Pad the sequences, and mask what is padded."
            )
        return super().call(sequences, initial_state=initial_state, mask=mask, training=training)

    def inner_loop(self, sequences, initial_state, mask, training=False):
        """All steps: `(last output, outputs, last states)`."""
        inputs = [ops.transpose(sequences, (1, 0, 2))]
        step = self.cell.make_step(inputs[0][0], initial_state[0], training, self.unroll)
        mask = mask[0] if isinstance(mask, list | tuple) else mask
        if mask is not None:
            inputs.append(ops.expand_dims(ops.transpose(ops.cast(mask, "bool")), -1))
        if self.go_backwards:
            inputs = [ops.flip(x, axis=0) for x in inputs]
        if self.stateful:
            # PyTorch writes new states over the old, which its gradients still need.
            initial_state = [ops.copy(state) for state in initial_state]
        outputs, states = run_steps(
            _masked_step(step),
            inputs,
            tuple(initial_state),
            collect=self.return_sequences,
            unroll=self.unroll,
        )
        last = states[0]
        if mask is not None and self.zero_output_for_mask:
            last = ops.where(inputs[1][-1], last, 0)
            outputs = None if outputs is None else ops.where(inputs[1], outputs, 0)
        outputs = last if outputs is None else ops.transpose(outputs, (1, 0, 2))
        return last, outputs, list(states)

    def get_config(self):
        """The constructor's arguments."""
        config, cell = super().get_config(), self.cell.get_config()
        del config["cell"]
        config.update({name: cell[name] for name in self.cell_arguments})
        config["use_cudnn"] = self.use_cudnn
        config["activity_regularizer"] = keras.regularizers.serialize(self.activity_regularizer)
        return config

    @classmethod
    def from_config(cls, config):
        """A layer from what `get_config` gave."""
        return cls(**config)


def _masked_step(step):
    """A step of `run_steps` in which the states of masked rows stay."""

    def masked_step(current, states):
        new = step(current[0], *states)
        if len(current) == 1:
            return new
        return tuple(ops.where(current[1], *pair) for pair in zip(new, states, strict=True))

    return masked_step
