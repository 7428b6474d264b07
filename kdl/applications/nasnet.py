"""NASNet-A: cells found by architecture search (arXiv 1707.07012)."""

import dataclasses

import keras

from kdl._checks import check_choice, check_integer, is_integer
from kdl._registry import ModelEntry
from kdl._typing import Activation, DType, Path, Shape
from kdl.applications._common import StrideTracker, bind_arguments, chain
from kdl.applications._nasnet_cells import (
    auxiliary_head,
    plan_cells,
    stack_cells,
    stem_layers,
)
from kdl.applications.application import Application
from kdl.applications.preprocessing import decode_predictions, scale_tf
from kdl.applications.weights.names import nasnet as names
from kdl.applications.weights.sources.nasnet import IMAGENET
from kdl.layers.blocks.nasnet_cell import (
    NASNET_A_NORMAL,
    NASNET_A_REDUCTION,
    plain_description,
)

_EPSILON = 1e-3


@dataclasses.dataclass(frozen=True)
class _Size:
    """Network of the paper: arguments, native input, parameters, multiply-adds."""

    penultimate_filters: int
    blocks: int
    stem_filters: int
    skip_reduction: bool
    pixels: int
    parameters: int
    macs: float

    @property
    def arguments(self):
        return {
            "penultimate_filters": self.penultimate_filters,
            "blocks": self.blocks,
            "stem_filters": self.stem_filters,
            "skip_reduction": self.skip_reduction,
        }


_SIZES = {
    "mobile": _Size(1056, 4, 32, False, 224, 5_289_978, 564e6),
    "large": _Size(4032, 6, 96, True, 331, 88_753_150, 23.78e9),
}


@keras.saving.register_keras_serializable("kdl")
class NASNet(Application):
    """NASNet: cells found by a search, stacked; here with the cells of NASNet-A or any others.

    Stem 3×3/2 without padding, two reduction cells of `F / 4` and `F / 2` filters, then three
    stages of `blocks` normal cells of `F`, `2F` and `4F` filters with a reduction cell before the
    second and third; ReLU, global average, dropout 0.5 (`lineage="slim"`), classifier. A cell sees
    the outputs of the two before it; see `kdl.layers.NASNetCell`. `F` is `penultimate_filters`
    over four times the number of outputs of the normal cell, which is 24 for NASNet-A.

    Input: float images `(batch, height, width, channels)` of at least 32×32 pixels, scaled by
    `preprocess_input` if the weights are published ones. Output: `(batch, classes)`, or the last
    feature map without top; with `auxiliary=True` a list of two.

    Args:
        penultimate_filters: Channels of the last feature map. Defaults to 1056.
        blocks: Normal cells in a stage. Defaults to 4. The paper writes both as "4 @ 1056".
        stem_filters: Channels of the first convolution. Defaults to 32.
        skip_reduction: Whether the cell after a reduction cell takes as its second input that
            cell's second input (the large network), or its first (False, default).
        lineage: How pooling with stride 2 treats the border: `"slim"` (default) as in the authors'
            code, `"timm"` or `"keras"` as in timm or `keras.applications`, which need a known
            height and width; see `kdl.layers.NASNetCell`. The weights are the same. This takes the
            place of `padding`: the convolutions pad by TensorFlow's rule.
        auxiliary: Whether to add a second classifier, `"auxiliary"`, before the second reduction
            cell: it is for training, with `loss_weights=[1, 0.4]`. Afterwards
            `keras.Model(model.inputs, model.outputs[0])` is the network without it. Needs the top
            and a known height and width. Published files have no weights for it.
        drop_path_keep: Chance that the deepest paths are kept at the end of training; 1 (default)
            for no `kdl.layers.ScheduledDropPath`. Pass `kdl.training.DropPathSchedule` to `fit`.
        normal: Description of the normal cell; None (default) for NASNet-A's.
        reduction: Description of the reduction cell; None (default) for NASNet-A's.
        momentum: Momentum of batch normalization. Defaults to 0.9997, as in slim, whose moving
            statistics need ten thousand steps; pass 0.9 for a run of hundreds.
        output_stride: 32, and no other: the poolings in the cells cannot be dilated.
        weights: None (default), `"imagenet"` (those of `keras.applications` for its lineage, of
            the large network also timm's for the other two), or the path of a `.weights.h5`,
            `.keras`, `.pth` or `.safetensors` file, or of an `.h5` file of `keras.applications`.
        include_top, input_tensor, input_shape, pooling, classes, classifier_activation, dtype,
            data_format, name: Those of every `kdl.applications.Application`.

    Raises:
        ValueError: If an argument is out of range, the input too small, or the weights of another
            network.
        FileNotFoundError: If the file of weights does not exist.

    Source: NASNet (arXiv 1707.07012), section 4 and appendix A; tensorflow/models, slim, `nasnet`.

    Example:
        >>> model = NASNet(96, blocks=1, input_shape=(32, 32, 3), classes=10)
        >>> model.output_shape
        (None, 10)
    """

    def __init__(
        self,
        penultimate_filters: int = 1056,
        blocks: int = 4,
        stem_filters: int = 32,
        skip_reduction: bool = False,
        lineage: str = "slim",
        auxiliary: bool = False,
        drop_path_keep: float = 1.0,
        normal: dict | None = None,
        reduction: dict | None = None,
        momentum: float = 0.9997,
        output_stride: int = 32,
        include_top: bool = True,
        weights: Path | None = None,
        input_tensor: keras.KerasTensor | None = None,
        input_shape: Shape | None = None,
        pooling: str | None = None,
        classes: int = 1000,
        classifier_activation: Activation = "softmax",
        dtype: DType = None,
        data_format: str | None = None,
        name: str | None = None,
    ) -> None:
        own, common = bind_arguments(locals())
        size = {
            "penultimate_filters": penultimate_filters,
            "blocks": blocks,
            "stem_filters": stem_filters,
            "skip_reduction": skip_reduction,
        }
        blocks = check_integer("blocks", blocks)
        stem_filters = check_integer("stem_filters", stem_filters)
        check_choice("lineage", lineage, ("slim", "timm", "keras"))
        _check_output_stride(output_stride)
        descriptions = {
            False: plain_description(normal or NASNET_A_NORMAL),
            True: plain_description(reduction or NASNET_A_REDUCTION),
        }
        filters = _filters(penultimate_filters, len(descriptions[False]["outputs"]))
        inputs = common.inputs(_SIZES[_size_name(size)].pixels if _size_name(size) else 224)
        factory, strides = common.factory("same", _EPSILON, momentum), StrideTracker(output_stride)
        cell = common.block_arguments(factory) | {
            "lineage": lineage,
            "drop_path_keep": drop_path_keep,
        }
        del cell["padding"]

        strides.next(2)
        x = strides.record(chain(inputs, stem_layers(stem_filters, factory)))
        plan = list(plan_cells(filters, blocks))
        x, before_reduction = stack_cells(x, plan, descriptions, skip_reduction, strides, cell)
        auxiliaries = [auxiliary_head(before_reduction, factory, common)] if auxiliary else []
        x = strides.record(chain(x, factory.relu("head_relu")))
        outputs = common.head(x, dropout=0.5 if lineage == "slim" else 0.0)
        own["normal"] = normal and descriptions[False]
        own["reduction"] = reduction and descriptions[True]
        outputs = [outputs, *auxiliaries] if auxiliaries else outputs
        published = IMAGENET.get((_size_name(size), lineage))
        sources = (published,) if published and not (normal or reduction) else ()
        super().__init__(own, common, strides, outputs, _name(size, lineage), sources)

    preprocess_input = staticmethod(scale_tf)
    decode_predictions = staticmethod(decode_predictions)

    def reference_names(self) -> dict[str, dict[str, str]]:
        """Names of the layers in timm (and Cadene's collection) and in `keras.applications`."""
        arguments = self.get_config()
        if arguments["normal"] or arguments["reduction"]:
            return {}
        return {
            "timm": names.timm(arguments["blocks"]),
            "keras": names.keras(arguments["blocks"]),
        }


def _check_output_stride(output_stride):
    if output_stride != 32:
        raise ValueError(
            f"output_stride must be 32; received {output_stride!r}. The cells pool with stride 1 "
            f"after each reduction, and pooling cannot be dilated. For finer features take "
            f"pyramid_outputs."
        )


def _filters(penultimate, outputs):
    unit = 16 * outputs
    if not is_integer(penultimate) or penultimate < unit or penultimate % unit:
        near = unit
        if is_integer(penultimate) or isinstance(penultimate, float):
            below = int(penultimate) // unit * unit
            near = " or ".join(str(n) for n in (below, below + unit) if n > 0)
        raise ValueError(
            f"penultimate_filters must be a multiple of {unit}: four filters in the stem's first "
            f"cell for each of the {outputs} outputs of the normal cell, four times doubled; "
            f"received {penultimate!r}. Nearest: {near}."
        )
    return penultimate // (4 * outputs)


def _size_name(size):
    """Name of the paper's network with these arguments, or None."""
    return next((name for name, known in _SIZES.items() if known.arguments == size), None)


def _name(size, lineage):
    base = _size_name(size) or f"{size['blocks']}_{size['penultimate_filters']}"
    return f"nasnet_{base}" + ("" if lineage == "slim" else f"_{lineage}")


def _entry(size, lineage):
    known = _SIZES[size]
    source = IMAGENET.get((size, lineage))
    return ModelEntry(
        _name(known.arguments, lineage),
        NASNet,
        {**known.arguments, "lineage": lineage},
        known.parameters,
        known.macs,
        (source,) if source else (),
        (known.pixels, known.pixels, 3),
    )


ENTRIES = [
    _entry("mobile", "slim"),
    _entry("large", "slim"),
    _entry("large", "timm"),
    _entry("mobile", "keras"),
    _entry("large", "keras"),
]
