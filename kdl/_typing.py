"""Short names of types in public signatures.

A tensor is of the backend in use, or symbolic, so that no class can be named without loading one.
"""

import os
from collections.abc import Callable
from typing import Any, TypeAlias

Tensor: TypeAlias = Any
# A tensor, a NumPy array, or numbers in lists.
ArrayLike: TypeAlias = Any
# The size of each axis; None where it is dynamic.
Shape: TypeAlias = tuple[int | None, ...]
# The path of a file.
Path: TypeAlias = str | os.PathLike
# The name of a dtype or of a policy, or a `keras.DTypePolicy`; None for the global policy.
DType: TypeAlias = Any
# The name of an activation, or the function; None for none.
Activation: TypeAlias = str | Callable | None
# The name of one of Keras's, the object, its config, or a function; None for none or the default.
Initializer: TypeAlias = Any
Regularizer: TypeAlias = Any
Constraint: TypeAlias = Any
