"""Short names of types in the signatures of ensembles."""

from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from typing import Any, Literal, TypeAlias

import keras

from kdl._typing import Shape

# A function of the input shape and the number of outputs, or a compiled model as a template.
Build: TypeAlias = Callable[[Shape, int], keras.Model] | keras.Model
# `(name, build)` or `(name, build, fit_arguments)`.
NamedMembers: TypeAlias = Sequence[tuple]
FitArguments: TypeAlias = dict[str, Any] | None
Task: TypeAlias = Literal["classification", "regression"]
Voting: TypeAlias = Literal["soft", "hard"]
ExecutorLike: TypeAlias = Executor | int | None
