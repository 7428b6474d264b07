"""The data that an export measures and proves with, and what it tells of the model's images."""

import dataclasses

import keras
import numpy as np

from kdl.data._arrays import are_whole
from kdl.data._class_numbers import class_numbers
from kdl.data._input_form import Slot, fitted, form_of_model, form_of_shapes, leaves, map_form
from kdl.data.model_info import ModelInfo, get_model_info
from kdl.data.reading import read_samples
from kdl.data.samples import Samples
from kdl.deploy.exporting.signature import output_names
from kdl.deploy.tflite.tensor_names import kind_by_name

# Most samples taken from a data set; arrays are taken whole.
REPRESENTATIVE_SAMPLES = 500
VERIFICATION_SAMPLES = 1000

_RANDOM_SAMPLES = 8


@dataclasses.dataclass(frozen=True)
class ExportData:
    """Data and facts of an export beside the model, brought to one form.

    Attributes:
        form: The model's inputs in their structure, each a `Slot` with the shape that the file has.
        info: `kdl.data.ModelInfo` for the file.
        representative: `Samples`, or None.
        verification: `Samples`, made up if no data was given.
    """

    form: Slot | list | dict
    info: ModelInfo
    representative: Samples | None
    verification: Samples


def read_export_data(
    model, labels, input_spec, input_shape, representative_data, verification_data
):
    """The arguments of `export_tflite` as `ExportData`.

    Labels and input specification that are not given are those that the model remembers, or
    else those of the data sets, where they fit it.

    Raises:
        ValueError: If an argument does not fit the model, or data was read for another.
    """
    remembered = get_model_info(model)
    form = _static_form(model, input_shape, input_spec or remembered.input_spec)
    _check_spec(input_spec, form)
    data = {
        "representative_data": (representative_data, REPRESENTATIVE_SAMPLES),
        "verification_data": (verification_data, VERIFICATION_SAMPLES),
    }
    read = {
        name: None if values is None else read_samples(values, limit, form, name)
        for name, (values, limit) in data.items()
    }
    info = _info(model, form, ModelInfo(labels, input_spec), remembered, read.values())
    for name, samples in read.items():
        if samples is not None:
            read[name] = _checked(samples, info, form, name)
    representative, verification = read.values()
    verification = verification or representative or random_samples(form, info.input_spec)
    return ExportData(form, info, representative, verification)


def random_samples(form, spec=None):
    """A few made-up `Samples`: noise as images where `spec` tells how, else normal numbers.

    Args:
        form: The model's inputs, with static shapes.
        spec: `kdl.data.InputSpec` of one of them, or None.
    """
    rng = np.random.default_rng(0)
    image = None if spec is None else leaves(form)[spec.place_among(_shapes(form))]

    def draw(slot):
        shape = (_RANDOM_SAMPLES, *slot.shape)
        if slot is image:
            return spec.normalize(rng.integers(0, 256, shape, "uint8"))
        if "float" in slot.dtype:
            return rng.standard_normal(shape).astype("float32")
        return rng.integers(0, 256 if slot.dtype == "uint8" else 2, shape).astype(slot.dtype)

    return Samples(map_form(draw, form))


def _static_form(model, input_shape, spec):
    """The model's inputs with static shapes: as given, or else as the images of `spec` are."""
    own = form_of_model(model)
    known = own if input_shape is None else fitted(own, form_of_shapes(input_shape))
    if known is None or not all(isinstance(x, Slot) for x in leaves(known)):
        raise ValueError(
            f"input_shape={input_shape} does not fit the model's inputs: expected a shape for each "
            f"of {_text(own)}, as such a dict or list."
        )
    if input_shape is None and spec is not None:
        known = _with_size_of(spec, own)
    for slot, shape in zip(leaves(own), _shapes(known), strict=True):
        if not slot.fits(shape):
            raise ValueError(f"input_shape={input_shape} does not fit the model's {slot.shape}.")
    if any(None in shape for shape in _shapes(known)):
        raise ValueError(
            f"The model leaves sizes open: {_text(own)}. A file has one size: pass input_shape=, "
            f"for instance input_shape={_text(map_form(_example, known))}."
        )
    return map_form(lambda slot, other: dataclasses.replace(slot, shape=other.shape), own, known)


def _with_size_of(spec, own):
    """The inputs with the size of the images of `spec`, if those fit into one of them alone."""
    fitting = [slot for slot in leaves(own) if slot.fits(spec.shape)]

    def sized(slot):
        alone = slot is fitting[0] and len(fitting) == 1
        return dataclasses.replace(slot, shape=spec.shape) if alone else slot

    return map_form(sized, own) if fitting else own


def _example(slot):
    """The place with some size for each that is open."""
    sizes = tuple(224 if size is None else size for size in slot.shape)
    return dataclasses.replace(slot, shape=sizes)


def _shapes(form):
    return [slot.shape for slot in leaves(form)]


def _text(form):
    return map_form(lambda slot: slot.shape, form)


def _check_spec(spec, form):
    if spec is None or _is_taken(spec, form):
        return
    shapes = _shapes(form)
    place = spec.place_among(shapes)
    if place is not None:
        raise ValueError(
            f"input_spec makes numbers of images that the model's input of "
            f"{leaves(form)[place].dtype} does not hold: for uint8 pass InputSpec(size, "
            f"dtype='uint8'), which leaves the bytes as they are; received {spec}."
        )
    advice = " More than one has it: leave input_spec out." if spec.shape in shapes else ""
    raise ValueError(
        f"input_spec describes images of shape {spec.shape}; the model takes {_text(form)}.{advice}"
    )


def _is_taken(spec, form):
    """Tell if one input has the shape of the images and can hold what they become."""
    place = spec.place_among(_shapes(form))
    if place is None:
        return False
    slot = leaves(form)[place]
    if "int" not in slot.dtype:
        return True
    images = spec.normalize(np.repeat(np.arange(256, dtype="uint8")[:, None], spec.channels, 1))
    limits = np.iinfo(slot.dtype)
    fits = limits.min - 0.5 < images.min() and images.max() < limits.max + 0.5
    return bool(fits and are_whole(images).all())


def _info(model, form, given, remembered, samples):
    """The given info, or else the model's, or else the data's, as far as it fits."""
    known = [remembered, *(ModelInfo(s.class_names, s.input_spec) for s in samples if s)]
    named = [i.labels for i in known if i.labels is not None]
    labels = [names for names in named if may_name(names, model)]
    specs = [i.input_spec for i in known if i.input_spec]
    specs = [spec for spec in specs if _is_taken(spec, form)]
    return ModelInfo(
        next(iter(labels), None) if given.labels is None else list(given.labels),
        given.input_spec or next(iter(specs), None),
    )


def may_name(labels, model):
    """Tell if labels are as many as an output has classes, of an image or of its pixels.

    One score parts two classes; how many there are in a label map of integers is not known. What
    is called boxes beside other outputs has no classes.

    Args:
        labels: Names of classes.
        model: A functional or sequential model.
    """
    names = output_names(model)
    return any(
        _has_classes(labels, output)
        for name, output in zip(names, model.outputs, strict=True)
        if len(names) == 1 or kind_by_name(name) != "boxes"
    )


def _has_classes(labels, output):
    shape = tuple(output.shape[1:])
    whole = "int" in keras.backend.standardize_dtype(output.dtype)
    if whole and (len(shape) == 2 or (len(shape) == 3 and shape[-1] == 1)):
        return True
    of_pixels = len(shape) == 3 and shape[-1] == 1 and len(labels) == 2
    return of_pixels or (len(shape) in (1, 3) and shape[-1] == len(labels))


def _checked(samples, info, form, argument):
    samples = samples.matched(info, argument)
    class_numbers(samples.labels, argument)
    if info.input_spec is not None:
        images = samples.arrays[info.input_spec.place_among(_shapes(form))]
        info.input_spec.check(images, argument)
    return samples
