"""Sized constructors: a family's class under another name, with other defaults."""

import functools
import inspect


def variant(name, cls, **defaults):
    """A function that builds `cls` with some defaults changed.

    Args:
        name: Name of the function.
        cls: Class of the family.
        **defaults: New defaults of arguments of `cls`, which the caller can still override.

    Returns:
        A function with the signature of `cls` and the new defaults, which also has the attributes
        `preprocess_input` and `decode_predictions` of the class.

    Raises:
        TypeError: If `cls` has no such argument.

    Example:
        >>> import kdl
        >>> Tiny = variant("Tiny", kdl.applications.ShuffleNetV2, alpha=0.5)
        >>> Tiny(input_shape=(32, 32, 3), classes=4).name
        'shufflenet_v2_x0_5'
    """
    signature = inspect.signature(cls)
    unknown = set(defaults) - set(signature.parameters)
    if unknown:
        raise TypeError(f"{cls.__name__} has no argument {sorted(unknown)}.")
    changed = signature.replace(
        parameters=[
            p.replace(default=defaults.get(p.name, p.default))
            for p in signature.parameters.values()
        ]
    )

    @functools.wraps(cls, assigned=("__module__",), updated=())
    def build(*args, **kwargs):
        return cls(**{**defaults, **changed.bind(*args, **kwargs).arguments})

    told = ", ".join(f"{key}={value!r}" for key, value in defaults.items())
    build.__name__ = build.__qualname__ = name
    build.__signature__ = changed
    build.__doc__ = (
        f"`{cls.__name__}` with the defaults {told}; all arguments of `{cls.__name__}` are taken."
    )
    build.preprocess_input = cls.preprocess_input
    build.decode_predictions = cls.decode_predictions
    return build
