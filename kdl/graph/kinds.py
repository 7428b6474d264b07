"""Kinds of layers, operations and tensors."""

import keras


def kind_of(operation):
    """Name of an operation's class; with its module, if that is neither Keras nor kdl.

    kdl's form of a layer of Keras counts as that layer. A class of your own may be called as one of
    Keras's, and compute otherwise. So does a layer that Keras has quantized: its kind tells that.
    """
    kind = keras_class_of(operation)
    if is_foreign(operation):
        return f"{kind.__module__}.{kind.__name__}"
    mode = getattr(operation, "quantization_mode", None)
    return f"{kind.__name__} (quantized to {mode})" if mode else kind.__name__


def keras_class_of(operation):
    """Keras's class with the results of an operation of kdl; its own if there is none."""
    # A subclass of your own may compute otherwise than the layer of kdl that it inherits from.
    plain = None if is_foreign(operation) else getattr(operation, "keras_class", None)
    return plain or type(operation)


def is_foreign(operation):
    """Tell if an operation's class is neither Keras's nor kdl's."""
    return type(operation).__module__.partition(".")[0] not in ("keras", "kdl")


def own_dtype(x):
    """The dtype of a layer that gives a KerasTensor as it is, whatever the global policy."""
    return x.dtype if is_float(x) else None


def is_float(x):
    """Tell if a KerasTensor holds floating-point numbers."""
    return keras.backend.is_float_dtype(keras.backend.standardize_dtype(x.dtype))
