"""What kdl needs of other libraries and is not in their public interface, each with its reason."""


def has_forward_hooks(layer):
    """Whether someone listens to the calls of a layer on PyTorch.

    PyTorch has `register_forward_hook`, but no public way to ask whether a module has one. kdl's
    blocks must know it, since they leave out the calls of their layers where nobody listens.
    """
    return bool(layer._forward_hooks or layer._forward_pre_hooks)


def all_layers(layer):
    """A layer or model, and all layers in it, however deep.

    `model.layers` has the outermost alone, and nothing public leads into composite layers.
    """
    return list(layer._flatten_layers())
