"""Attributes replaced within a context."""

import contextlib


@contextlib.contextmanager
def patched(owner, name, value):
    """Within it `owner` has another attribute; afterwards its own again, or the inherited one."""
    own = vars(owner).get(name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        if own is None:
            delattr(owner, name)
        else:
            setattr(owner, name, own)
