"""NASNet-A (arXiv 1707.07012)."""

import dataclasses

import keras

from kdl._checks import check_integer, is_integer
from kdl.applications._common import CommonArguments, Strides, chain
from kdl.applications.application import Application
from kdl.applications.model_entry import ModelEntry
from kdl.applications.preprocessing import decode_predictions, scale_tf
from kdl.applications.variant import variant
from kdl.applications.weights.source import WeightSource
from kdl.layers._block import check_choice
from kdl.layers.blocks.nasnet_cell import (
    NASNET_A_NORMAL,
    NASNET_A_REDUCTION,
    NASNetCell,
    plain_description,
)
from kdl.layers.convolution.conv2d import Conv2D
from kdl.layers.pooling.average_pooling2d import AveragePooling2D

_EPSILON = 1e-3

_KERAS_URL = "https://storage.googleapis.com/tensorflow/keras-applications/nasnet/"
_TIMM_URL = "https://github.com/rwightman/pytorch-image-models/releases/download/v0.1-weights/"


@dataclasses.dataclass(frozen=True)
class _Size:
    """A network of the paper: the arguments, the native input, and what is known of it."""

    penultimate_filters: int
    blocks: int
    stem_filters: int
    skip_reduction: bool
    pixels: int
    parameters: int
    macs: float
    sources: dict  # lineage → weights of `weights="imagenet"`

    @property
    def arguments(self):
        return {
            "penultimate_filters": self.penultimate_filters,
            "blocks": self.blocks,
            "stem_filters": self.stem_filters,
            "skip_reduction": self.skip_reduction,
        }


# Ported from the authors' own weights; timm measured them with its own way of pooling.
_TIMM_LARGE = WeightSource(
    name="nasnetalarge-dc4a7b8b.pth",
    url=_TIMM_URL + "nasnetalarge-dc4a7b8b.pth",
    sha256="dc4a7b8b",
    parameters=88_753_150,
    top1=82.638,
    licence="Apache-2.0 (timm)",
    resize=363,
    crop=331,
    padding="same",
)

_SIZES = {
    "mobile": _Size(
        penultimate_filters=1056,
        blocks=4,
        stem_filters=32,
        skip_reduction=False,
        pixels=224,
        parameters=5_289_978,
        macs=564e6,
        sources={
            "keras": WeightSource(
                name="nasnet_mobile.h5",
                url=_KERAS_URL + "NASNet-mobile.h5",
                sha256="",
                parameters=5_289_978,
                top1=74.0,
                licence="Apache-2.0 (keras.applications)",
                padding="same",
            )
        },
    ),
    "large": _Size(
        penultimate_filters=4032,
        blocks=6,
        stem_filters=96,
        skip_reduction=True,
        pixels=331,
        parameters=88_753_150,
        macs=23.78e9,
        sources={
            "slim": _TIMM_LARGE,
            "timm": _TIMM_LARGE,
            "keras": WeightSource(
                name="nasnet_large.h5",
                url=_KERAS_URL + "NASNet-large.h5",
                sha256="",
                parameters=88_753_150,
                top1=82.7,
                licence="Apache-2.0 (keras.applications)",
                resize=363,
                crop=331,
                padding="same",
            ),
        },
    ),
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
        momentum: Momentum of batch normalisation. Defaults to 0.9997, as in slim, whose moving
            statistics need ten thousand steps; pass 0.9 for a run of hundreds.
        output_stride: 32, and no other: the poolings in the cells cannot be dilated.
        include_top: Whether to add the classifier. Defaults to True.
        weights: None (default), `"imagenet"` (those of `keras.applications` for its lineage, of
            the large network also timm's for the other two), or the path of a `.weights.h5`,
            `.keras`, `.pth` or `.safetensors` file, or of an `.h5` file of `keras.applications`.
        input_tensor: A `keras.Input` to build on.
        input_shape: Shape without batch. Defaults to `(224, 224, 3)`, or `(331, 331, 3)` for the
            large network; `(None, None, 3)` without top.
        pooling: Without top: None (default), `"avg"` or `"max"`.
        classes: Number of classes. Defaults to 1000.
        classifier_activation: Activation of the classifiers, `"softmax"` by default; None gives
            logits.
        dtype: Dtype policy of the layers; the global one by default.
        data_format: `"channels_last"` or `"channels_first"`; Keras's image data format by default.
        name: Name of the model; by default it tells the variant.

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
        penultimate_filters=1056,
        blocks=4,
        stem_filters=32,
        skip_reduction=False,
        lineage="slim",
        auxiliary=False,
        drop_path_keep=1.0,
        normal=None,
        reduction=None,
        momentum=0.9997,
        output_stride=32,
        include_top=True,
        weights=None,
        input_tensor=None,
        input_shape=None,
        pooling=None,
        classes=1000,
        classifier_activation="softmax",
        dtype=None,
        data_format=None,
        name=None,
    ):
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
        common = CommonArguments(
            include_top,
            input_tensor,
            input_shape,
            pooling,
            classes,
            classifier_activation,
            dtype,
            data_format,
        )
        known = _known(size)
        inputs = common.inputs(known.pixels if known else 224)
        make, strides = common.maker("same", _EPSILON, momentum), Strides(output_stride)
        cell = common.block_arguments(make) | {"lineage": lineage, "drop_path_keep": drop_path_keep}
        del cell["padding"]

        strides.step(2)
        x = strides.keep(chain(inputs, _stem(stem_filters, make)))
        plan = list(_plan(filters, blocks))
        x, before_reduction = _stack(x, plan, descriptions, skip_reduction, strides, cell)
        auxiliaries = [_auxiliary(before_reduction, make, common)] if auxiliary else []
        x = strides.keep(chain(x, make.relu("head_relu")))
        outputs = common.head(x, dropout=0.5 if lineage == "slim" else 0.0)
        arguments = {
            **size,
            "lineage": lineage,
            "auxiliary": auxiliary,
            "drop_path_keep": drop_path_keep,
            "normal": normal and descriptions[False],
            "reduction": reduction and descriptions[True],
            "momentum": momentum,
            "output_stride": output_stride,
            **common.config(),
        }
        outputs = [outputs, *auxiliaries] if auxiliaries else outputs
        name = name or _name(size, lineage)
        super().__init__(inputs, outputs, strides, arguments, name)
        published = known and not (normal or reduction)
        sources = [known.sources[lineage]] if published and lineage in known.sources else ()
        self.load_initial_weights(weights, sources)

    preprocess_input = staticmethod(scale_tf)
    decode_predictions = staticmethod(decode_predictions)

    def reference_names(self):
        """Names of the layers in timm (and Cadene's collection) and in `keras.applications`."""
        arguments = self.get_config()
        if arguments["normal"] or arguments["reduction"]:
            return {}
        return {
            "timm": _timm_names(arguments["blocks"]),
            "keras": _keras_names(arguments["blocks"]),
        }


NASNetMobile = variant("NASNetMobile", NASNet, **_SIZES["mobile"].arguments)
NASNetLarge = variant("NASNetLarge", NASNet, **_SIZES["large"].arguments)


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


def _known(size):
    """The `_Size` of these arguments, or None."""
    return next((known for known in _SIZES.values() if known.arguments == size), None)


def _name(size, lineage):
    known = next((name for name, other in _SIZES.items() if other.arguments == size), None)
    base = known or f"{size['blocks']}_{size['penultimate_filters']}"
    return f"nasnet_{base}" + ("" if lineage == "slim" else f"_{lineage}")


def _plan(filters, blocks):
    """`(name, whether it reduces, filters)` of each cell, from the first to the last."""
    yield "stem_cell0", True, filters // 4
    yield "stem_cell1", True, filters // 2
    for stage in range(3):
        width = filters * 2**stage
        if stage:
            yield f"reduction_cell{stage - 1}", True, width
        for index in range(stage * blocks, (stage + 1) * blocks):
            yield f"cell{index}", False, width


def _stack(x, plan, descriptions, skip_reduction, strides, arguments):
    """Runs the cells; returns the last feature map, and the one before the last reduction."""
    previous, before_reduction, adjust = x, x, "none"
    for index, (place, reduces, width) in enumerate(plan):
        cell = NASNetCell(
            width,
            descriptions[reduces],
            reduces,
            adjust,
            cell=index,
            cells=len(plan),
            name=place,
            **arguments,
        )
        result = cell([x, previous])
        if reduces:
            before_reduction = x
            strides.step(2)
        if not (place.startswith("reduction") and skip_reduction):
            previous = x
        x = strides.keep(result)
        adjust = "factorized" if reduces else "projection"
    return x, before_reduction


def _stem(filters, make):
    conv = Conv2D(
        filters,
        3,
        strides=2,
        use_bias=False,
        data_format=make.data_format,
        dtype=make.dtype,
        name="stem_conv",
    )
    return [conv, make.norm("stem_bn")]


def _auxiliary(x, make, common):
    """The second classifier: it pools, and sees the whole image by one convolution."""
    if not common.include_top:
        raise ValueError("auxiliary=True adds a classifier: it needs include_top=True.")
    sizes = _pixels(x, make)
    if None in sizes or min(sizes) < 5:
        raise ValueError(
            f"auxiliary=True needs a known input size that leaves 5×5 pixels or more before the "
            f"second reduction cell, which has 1 for 16 of the input; there are {sizes}. Pass a "
            f"larger input_shape."
        )
    common_arguments = {"data_format": make.data_format, "dtype": make.dtype}
    pool = AveragePooling2D(5, 3, name="auxiliary_pool", **common_arguments)
    x = chain(
        x,
        make.relu("auxiliary_relu"),
        pool,
        make.conv(128, 1, "auxiliary_conv1"),
        make.norm("auxiliary_bn1"),
        make.relu("auxiliary_relu1"),
    )
    whole = Conv2D(
        768, _pixels(x, make), use_bias=False, name="auxiliary_conv2", **common_arguments
    )
    x = chain(x, whole, make.norm("auxiliary_bn2"), make.relu("auxiliary_relu2"))
    x = keras.layers.Flatten(make.data_format, name="auxiliary_flatten")(x)
    return keras.layers.Dense(
        common.classes, common.classifier_activation, dtype="float32", name="auxiliary"
    )(x)


def _pixels(x, make):
    return tuple(x.shape)[1:3] if make.axis == -1 else tuple(x.shape)[2:]


def _timm_names(blocks):
    names = {"stem_conv": "conv0.conv", "stem_bn": "conv0.bn", "classifier": "last_linear"}
    # Each stage counts from a multiple of six, in the mobile network too.
    places = {f"cell{i}": f"cell_{i // blocks * 6 + i % blocks}" for i in range(3 * blocks)}
    places |= {"stem_cell{c}": "cell_stem_{c}", "reduction_cell{c}": "reduction_cell_{c}"}
    layers = {
        "squeeze_conv": "conv_1x1.conv",
        "squeeze_bn": "conv_1x1.bn",
        "adjust_conv": "conv_prev_1x1.conv",
        "adjust_bn": "conv_prev_1x1.bn",
        "adjust/path{n}_conv": "path_{n}.conv",
        "adjust/bn": "final_path_bn",
    }
    for side in ("left", "right"):
        row = f"comb_iter_{{r}}_{side}"
        layers[f"{side}{{r}}_depthwise{{n}}"] = row + ".separable_{n}.depthwise_conv2d"
        layers[f"{side}{{r}}_pointwise{{n}}"] = row + ".separable_{n}.pointwise_conv2d"
        layers[f"{side}{{r}}_bn{{n}}"] = row + ".bn_sep_{n}"
    for place, module in places.items():
        names |= {f"{place}/{layer}": f"{module}.{name}" for layer, name in layers.items()}
    return names


def _keras_names(blocks):
    names = {"stem_conv": "stem_conv1", "stem_bn": "stem_bn1", "classifier": "predictions"}
    # Keras counts the reduction cells along, and the normal cells after them one further.
    places = {f"cell{i}": ("normal", i + (i >= blocks)) for i in range(3 * blocks)}
    places |= {f"stem_cell{i}": ("reduction", f"stem_{i + 1}") for i in range(2)}
    places |= {f"reduction_cell{i}": ("reduction", f"reduce_{(i + 1) * blocks}") for i in range(2)}
    for place, (kind, block) in places.items():
        layers = {
            "squeeze_conv": f"{kind}_conv_1_{block}",
            "squeeze_bn": f"{kind}_bn_1_{block}",
            "adjust_conv": f"adjust_conv_projection_{block}",
            "adjust_bn": f"adjust_bn_{block}",
            "adjust/path{n}_conv": f"adjust_conv_{{n}}_{block}",
            "adjust/bn": f"adjust_bn_{block}",
        }
        for side in ("left", "right"):
            for row in range(5):
                # Keras calls the fifth left branch of a reduction cell the fourth.
                number = 4 if (kind, side, row) == ("reduction", "left", 4) else row + 1
                end = f"{kind}_{side}{number}_{block}"
                separable = f"separable_conv_{{n}}_{end}"
                layers[f"{side}{row}_depthwise{{n}}"] = f"{separable}:depthwise_kernel"
                layers[f"{side}{row}_pointwise{{n}}"] = f"{separable}:pointwise_kernel"
                layers[f"{side}{row}_bn{{n}}"] = f"separable_conv_{{n}}_bn_{end}"
        names |= {f"{place}/{layer}": name for layer, name in layers.items()}
    return names


def _entry(size, lineage):
    known = _SIZES[size]
    source = known.sources.get(lineage)
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
