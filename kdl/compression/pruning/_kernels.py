"""Kernels of a model, for pruning."""

import dataclasses

import keras

from kdl.graph.inline import visit

_K = keras.layers

# Layer class → its kernels: attribute, and the axis along which products are summed up, which a
# depthwise kernel doesn't have.
_KERNELS = {
    (_K.DepthwiseConv1D, _K.DepthwiseConv2D): {"kernel": None},
    (_K.SeparableConv1D, _K.SeparableConv2D): {"depthwise_kernel": None, "pointwise_kernel": -2},
    (_K.Conv1DTranspose, _K.Conv2DTranspose, _K.Conv3DTranspose): {"kernel": -1},
    (_K.Conv1D, _K.Conv2D, _K.Conv3D, _K.Dense): {"kernel": -2},
}


@dataclasses.dataclass(frozen=True)
class Kernel:
    """A kernel and where it stands.

    Attributes:
        layer: The layer that it belongs to.
        variable: The kernel.
        input_axis: Axis along which products are summed up; None if depthwise.
    """

    layer: object
    variable: object
    input_axis: int | None

    @property
    def name(self):
        """Names of the layers that it is in, joined by slashes."""
        return self.variable.path.removesuffix("/kernel")

    @property
    def quantization_mode(self):
        """Mode in which Keras has quantized the layer; None if it has not."""
        return getattr(self.layer.dtype_policy, "quantization_mode", None)

    @property
    def traits(self):
        """Set of `"depthwise"` and `"grouped"`, as far as it is."""
        grouped = self.input_axis is not None and getattr(self.layer, "groups", 1) > 1
        depthwise = self.input_axis is None
        return {name for name, has in (("depthwise", depthwise), ("grouped", grouped)) if has}


def find_kernels(model):
    """`Kernel`s of the convolutions and dense layers of a functional model, in order of the calls.

    Those in blocks and nested models are found too.

    Raises:
        ValueError: If the model is not functional, or a kernel is a sum with adapters.
    """
    found = {}

    def see(operation, args, outputs):
        if getattr(operation, "lora_enabled", False):
            raise ValueError(
                f"{operation.name} has adapters (LoRA): its kernel is a sum, in which zeros would "
                f"not stay. Give the sum, layer.kernel, to a model without adapters."
            )
        for attribute, axis in _attributes(operation).items():
            variable = getattr(operation, attribute)
            found.setdefault(id(variable), Kernel(operation, variable, axis))

    visit(model, see)
    return list(found.values())


def _attributes(layer):
    for classes, attributes in _KERNELS.items():
        if isinstance(layer, classes):
            return attributes
    return {}
