"""What of a model is frozen, kept in its config."""

_KEY = "frozen"


def with_frozen(model, config):
    """`config`, and the names of the model's frozen layers if there are any.

    Keras keeps this for a model of its own, layer by layer; kdl's are made anew from their
    arguments when they are loaded.
    """
    names = [layer.name for layer in model.layers if not layer.trainable]
    return {**config, _KEY: names} if names else config


def from_frozen(build, config):
    """The model that `build(**config)` gives, with its frozen layers frozen again."""
    config = dict(config)
    names = set(config.pop(_KEY, ()))
    model = build(**config)
    for layer in model.layers:
        if layer.name in names:
            layer.trainable = False
    return model
