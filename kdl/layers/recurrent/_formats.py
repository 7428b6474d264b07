"""Weight layouts of recurrent layers in each library: reading and writing, in NumPy."""

from dataclasses import dataclass, field, replace

import numpy as np


@dataclass(frozen=True)
class Layout:
    """Order of the gates in the blocks of a format, and of its peepholes; a letter a gate."""

    gates: str
    peepholes: str = ""


@dataclass(frozen=True)
class Gates:
    """The weights of one layer, blocks in the order `gates`.

    Attributes:
        gates: Letters of the blocks.
        kernel: `(features, blocks · units)`.
        recurrent: `(units, blocks · units)`.
        bias: `(blocks · units,)`, or None.
        recurrent_bias: The same, where a format keeps a second one, or None.
        peepholes: Dict: letter of a gate → `(units,)`.
    """

    gates: str
    kernel: np.ndarray
    recurrent: np.ndarray
    bias: np.ndarray | None = None
    recurrent_bias: np.ndarray | None = None
    peepholes: dict = field(default_factory=dict)

    @property
    def units(self):
        """Size of the state."""
        return len(self.recurrent)

    def ordered(self, gates):
        """The same layer with its blocks in another order."""

        def move(array):
            if array is None:
                return None
            blocks = dict(zip(self.gates, np.split(array, len(self.gates), axis=-1), strict=True))
            return np.concatenate([blocks[gate] for gate in gates], axis=-1)

        names = ("kernel", "recurrent", "bias", "recurrent_bias")
        return replace(self, gates=gates, **{name: move(getattr(self, name)) for name in names})

    def with_forget_bias(self, value):
        """The same layer with `value` added to the bias of the forget gate."""
        bias = np.array(self.total_bias(always=True))
        start = self.gates.index("f") * self.units
        bias[start : start + self.units] += value
        return replace(self, bias=bias, recurrent_bias=None)

    def total_bias(self, always=False):
        """The sum of both biases; without any None, or zeros if there must be one."""
        if self.bias is None:
            return np.zeros(self.kernel.shape[-1], self.kernel.dtype) if always else None
        return self.bias if self.recurrent_bias is None else self.bias + self.recurrent_bias

    def both_biases(self):
        """The two biases apart, the second zeros where the layer has one; [] without any."""
        if self.bias is None:
            return []
        second = self.recurrent_bias
        return [self.bias, np.zeros_like(self.bias) if second is None else second]


def read_keras(arrays, layout, two_biases=False):
    """kernel, recurrent kernel, [bias], [peepholes]; `two_biases` as rows of the bias."""
    count = len(layout.peepholes)
    _check_count("keras", arrays, {2, 3, 2 + count, 3 + count})
    kernel, recurrent, *rest = arrays
    columns, units = _sizes("keras", layout, recurrent, axis=0)
    _check("keras kernel", kernel, ("features", columns))
    _check("keras recurrent kernel", recurrent, (units, columns))
    bias = second = None
    if len(rest) in (1, 1 + count):
        bias, *rest = rest
        _check("keras bias", bias, (2, columns) if two_biases else (columns,))
        bias, second = bias if two_biases else (bias, None)
    peepholes = _named_peepholes("keras", layout, rest, units)
    return Gates(layout.gates, kernel, recurrent, bias, second, peepholes)


def write_keras(gates, layout, two_biases=False):
    """The reverse of `read_keras`."""
    bias = np.stack(gates.both_biases()) if two_biases and gates.both_biases() else None
    bias = gates.total_bias() if not two_biases else bias
    arrays = [gates.kernel, gates.recurrent, *([] if bias is None else [bias])]
    return arrays + [gates.peepholes[gate] for gate in layout.peepholes if gates.peepholes]


def read_torch(arrays, layout, two_biases=False):
    """weight_ih, weight_hh, [bias_ih, bias_hh], units first."""
    _check_count("torch", arrays, {2, 4})
    kernel, recurrent, *biases = arrays
    rows, units = _sizes("torch", layout, recurrent, axis=1)
    _check("torch weight_ih", kernel, (rows, "features"))
    _check("torch weight_hh", recurrent, (rows, units))
    for bias in biases:
        _check("torch bias", bias, (rows,))
    return Gates(layout.gates, kernel.T, recurrent.T, *biases)


def write_torch(gates, layout, two_biases=False):
    """The reverse of `read_torch`."""
    if gates.peepholes:
        raise ValueError("PyTorch's LSTM has no peepholes; received weights that have them.")
    return [gates.kernel.T, gates.recurrent.T, *gates.both_biases()]


def read_tf_v1(arrays, layout, two_biases=False):
    """One kernel for inputs and state, bias, [peepholes]."""
    _check_count("tf_v1", arrays, {2, 2 + len(layout.peepholes)})
    kernel, bias, *rest = arrays
    columns, units = _sizes("tf_v1", layout, bias, axis=None)
    _check("tf_v1 kernel", kernel, ("features + units", columns))
    _check("tf_v1 bias", bias, (columns,))
    kernel, recurrent = _split_rows(kernel, units)
    peepholes = _named_peepholes("tf_v1", layout, rest, units)
    return Gates(layout.gates, kernel, recurrent, bias, None, peepholes)


def write_tf_v1(gates, layout, two_biases=False):
    """The reverse of `read_tf_v1`."""
    arrays = [np.concatenate([gates.kernel, gates.recurrent]), gates.total_bias(always=True)]
    return arrays + [gates.peepholes[gate] for gate in layout.peepholes if gates.peepholes]


def read_onnx(arrays, layout, two_biases=False):
    """W, R, [B], [P], each with an axis of one direction in front."""
    _check_count("onnx", arrays, {2, 3, 4} if layout.peepholes else {2, 3})
    for array in arrays:
        if array.ndim == 0 or len(array) != 1:
            raise ValueError(
                f"onnx: expected arrays of one direction, (1, …); received {array.shape}. "
                "Convert each direction by itself."
            )
    kernel, recurrent, *rest = (array[0] for array in arrays)
    rows, units = _sizes("onnx", layout, recurrent, axis=1)
    _check("onnx W", kernel, (rows, "features"))
    _check("onnx R", recurrent, (rows, units))
    bias = second = None
    if len(rest) == 2 or (rest and rest[0].shape == (2 * rows,)):
        bias, *rest = rest
        _check("onnx B", bias, (2 * rows,))
        bias, second = np.split(bias, 2)
    peepholes = {}
    if rest:
        _check("onnx P", rest[0], (len(layout.peepholes) * units,))
        parts = np.split(rest[0], len(layout.peepholes))
        peepholes = _named_peepholes("onnx", layout, parts, units)
    return Gates(layout.gates, kernel.T, recurrent.T, bias, second, peepholes)


def write_onnx(gates, layout, two_biases=False):
    """The reverse of `read_onnx`."""
    arrays = [gates.kernel.T, gates.recurrent.T]
    if gates.bias is not None:
        arrays.append(np.concatenate(gates.both_biases()))
    if gates.peepholes:
        arrays.append(np.concatenate([gates.peepholes[gate] for gate in layout.peepholes]))
    return [array[None] for array in arrays]


def read_tf_v1_gru(arrays, layout, two_biases=False):
    """Kernel and bias of the gates r and z, kernel and bias of the candidate."""
    _check_count("tf_v1", arrays, {4})
    gate_kernel, gate_bias, kernel, bias = arrays
    _check("tf_v1 candidate bias", bias, ("units",))
    units = len(bias)
    _check("tf_v1 candidate kernel", kernel, ("features + units", units))
    _check("tf_v1 gate kernel", gate_kernel, (len(kernel), 2 * units))
    _check("tf_v1 gate bias", gate_bias, (2 * units,))
    parts = _split_rows(np.concatenate([gate_kernel, kernel], axis=1), units)
    return Gates(layout.gates, *parts, np.concatenate([gate_bias, bias]))


def write_tf_v1_gru(gates, layout, two_biases=False):
    """The reverse of `read_tf_v1_gru`."""
    kernel, bias = np.concatenate([gates.kernel, gates.recurrent]), gates.total_bias(always=True)
    end = 2 * gates.units
    return [kernel[:, :end], bias[:end], kernel[:, end:], bias[end:]]


READ = {"keras": read_keras, "torch": read_torch, "tf_v1": read_tf_v1, "onnx": read_onnx}
WRITE = {"keras": write_keras, "torch": write_torch, "tf_v1": write_tf_v1, "onnx": write_onnx}
READ_GRU = {**READ, "tf_v1": read_tf_v1_gru}
WRITE_GRU = {**WRITE, "tf_v1": write_tf_v1_gru}


def _sizes(name, layout, array, axis):
    """`(blocks · units, units)`: units from an axis of `array`, or from its only, whole one."""
    rank = 1 if axis is None else 2
    if array.ndim != rank:
        raise ValueError(f"{name}: expected an array of rank {rank}; received {array.shape}.")
    blocks = len(layout.gates)
    if axis is None and len(array) % blocks:
        raise ValueError(
            f"{name}: expected a bias of {blocks} · units values; received {len(array)}."
        )
    units = len(array) // blocks if axis is None else array.shape[axis]
    return blocks * units, units


def _split_rows(kernel, units):
    if len(kernel) <= units:
        raise ValueError(
            f"tf_v1: the kernel has {len(kernel)} rows for inputs and state, of which the state "
            f"takes {units}. A cell with a projection has no counterpart in Keras."
        )
    return kernel[:-units], kernel[-units:]


def _named_peepholes(name, layout, arrays, units):
    for array in arrays:
        _check(f"{name} peephole", array, (units,))
    return dict(zip(layout.peepholes, arrays, strict=True)) if arrays else {}


def _check_count(name, arrays, allowed):
    if len(arrays) not in allowed:
        counts = " or ".join(map(str, sorted(allowed)))
        raise ValueError(
            f"{name}: expected {counts} arrays, of one layer in one direction; received "
            f"{len(arrays)}, of the shapes {[array.shape for array in arrays]}."
        )


def _check(what, array, shape):
    """Raises ValueError unless `array` has this shape; a string in it is a size left open."""
    pairs = zip(array.shape, shape, strict=False)
    fits = all(isinstance(size, str) or have == size for have, size in pairs)
    if array.ndim != len(shape) or not fits:
        wanted = ", ".join(map(str, shape))
        raise ValueError(f"{what}: expected shape ({wanted}); received {array.shape}.")
