"""A row of the registry."""

import dataclasses

from kdl.applications._counted_macs import COUNTED_MACS
from kdl.applications.weights.source import WeightSource


@dataclasses.dataclass(frozen=True)
class ModelEntry:
    """A named model.

    Attributes:
        name: Name, such as `shufflenet_v2_x1_0`; it is the model's own default name.
        constructor: Class of the family.
        arguments: The family's own arguments.
        parameters: Trainable parameters with 1000 classes.
        macs: Multiply-adds of convolutions and dense layers, one image of `input_shape`, as
            counted on the reference network; None where no reference tells.
        sources: `WeightSource`s of published weights. `weights="imagenet"` takes the first whose
            padding is the model's; where that is not the default, pass `padding=` as well.
        input_shape: Native input, without batch.
        learning_rate: A peak for AdamW that the network takes from random weights, as `kdl train`
            has it.
    """

    name: str
    constructor: type
    arguments: dict
    parameters: int
    macs: float | None
    sources: tuple[WeightSource, ...] = ()
    input_shape: tuple = (224, 224, 3)
    learning_rate: float = 0.02

    @property
    def source(self):
        """First of `sources`, or None."""
        return self.sources[0] if self.sources else None

    @property
    def counted_macs(self):
        """Multiply-adds that `kdl.applications.macs` counts, where no reference tells; or None."""
        return COUNTED_MACS.get(self.name)
