"""Sparsity report of a model."""

import dataclasses
from typing import Any

from kdl._plots import make_figure, write_figure
from kdl._report import Report
from kdl._typing import Path


@dataclasses.dataclass(frozen=True)
class LayerSparsity:
    """The zeros of one kernel.

    Attributes:
        name: Name of the layer.
        shape: Shape of the kernel.
        zeros: Number of weights that are exactly zero.
        size: Number of weights.
    """

    name: str
    shape: tuple[int, ...]
    zeros: int
    size: int

    @property
    def sparsity(self) -> float:
        """Share of zeros."""
        return self.zeros / self.size

    def __str__(self):
        shape = "×".join(map(str, self.shape))
        return f"{self.name} ({shape}): {self.sparsity:.1%} of {self.size:,} weights are zero"


@dataclasses.dataclass(frozen=True)
class SparsityReport(Report):
    """The zeros of a model's convolutions and dense layers.

    Attributes:
        layers: A `LayerSparsity` for each kernel, in the order of the calls.
    """

    layers: list[LayerSparsity]

    @property
    def zeros(self) -> int:
        """Number of zeros in all kernels."""
        return sum(layer.zeros for layer in self.layers)

    @property
    def size(self) -> int:
        """Number of weights in all kernels."""
        return sum(layer.size for layer in self.layers)

    @property
    def sparsity(self) -> float:
        """Share of zeros in all kernels."""
        return self.zeros / self.size if self.size else 0.0

    def to_dict(self) -> dict[str, Any]:
        """All of it as plain Python values."""
        layers = [{**dataclasses.asdict(x), "sparsity": x.sparsity} for x in self.layers]
        summary = {"zeros": self.zeros, "size": self.size, "sparsity": self.sparsity}
        return {"layers": layers, **summary}

    def __str__(self):
        total = f"in total: {self.sparsity:.1%} of {self.size:,} weights are zero"
        return "\n".join([*map(str, self.layers), total])

    def plot(self, path: Path) -> None:
        """Draws the share of zeros of each kernel, a bar a kernel.

        Args:
            path: PNG file to write.

        Raises:
            ImportError: If matplotlib is missing.
        """
        figure = make_figure((7, 1 + 0.22 * len(self.layers)))
        axes = figure.subplots()
        names = [layer.name for layer in self.layers]
        axes.barh(range(len(names)), [layer.sparsity for layer in self.layers])
        axes.set_yticks(range(len(names)), names, fontsize=7)
        axes.invert_yaxis()
        axes.set(xlim=(0, 1), xlabel="share of zeros", title=f"{self.sparsity:.1%} are zero")
        axes.grid(alpha=0.3, axis="x")
        write_figure(figure, path)
