import keras
import numpy as np
import pytest
from deploy.conftest import small_network
from PIL import Image

import kdl
from kdl.data import (
    ArrayDataset,
    ImageFolder,
    InputSpec,
    ModelInfo,
    RandomShift,
    get_model_info,
    read_model_info,
    set_model_info,
)
from kdl.deploy import ImageClassifier, export_tflite, verify_tflite
from kdl.deploy.exporting._data import read_export_data

SPEC = InputSpec((12, 12), mean=(0.5,) * 3, std=(0.25,) * 3)
NAMES = ["ant", "bee", "cat", "dog"]


def read(model, labels=None, input_spec=None, input_shape=None, representative=None, proof=None):
    return read_export_data(model, labels, input_spec, input_shape, representative, proof)


@pytest.fixture
def folder(tmp_path):
    """Four classes with twelve images each, whose color tells the class."""
    rng = np.random.default_rng(0)
    root = tmp_path / "images"
    for number, name in enumerate(NAMES):
        (root / name).mkdir(parents=True)
        for index in range(12):
            pixels = np.full((14, 14, 3), 40) + 60 * np.array([number & 1, number >> 1, 1])
            pixels = (pixels + rng.integers(-30, 30, pixels.shape)).astype("uint8")
            Image.fromarray(pixels).save(root / name / f"{index}.png")
    return root


@pytest.fixture
def dataset(folder):
    return ImageFolder(folder, SPEC, batch_size=8, augment=RandomShift(2))


@pytest.mark.export
def test_export_from_a_folder_makes_a_file_that_tells_how_it_is_used(network, dataset, tmp_path):
    path = tmp_path / "m.tflite"
    with kdl.deploy.warm_converter():
        result = export_tflite(network, path, "int8", dataset, verification_data=dataset)
    assert result.samples == 48
    assert result.keras_accuracy is not None
    assert read_model_info(path) == ModelInfo(NAMES, SPEC)
    [answer] = ImageClassifier(path).predict(dataset.paths[0], top=1)
    assert answer.label in NAMES
    # The same data as arrays is the same proof; with classes of the same names in another order
    # the labels are turned, with other names they count for nothing.
    x, y = dataset.unaugmented()
    assert verify_tflite(path, network, (x, y)) == result
    turned = ArrayDataset(x, 3 - y, class_names=NAMES[::-1], spec=SPEC)
    assert verify_tflite(path, network, turned) == result
    foreign = ArrayDataset(x, y, class_names=["car", *NAMES[1:]], spec=SPEC)
    with pytest.warns(UserWarning, match=r"'car', 'bee'.*accuracy is left out") as seen:
        assert verify_tflite(path, network, foreign).keras_accuracy is None
    assert seen[0].filename == __file__
    # Images read otherwise than the model wants them are refused.
    dark = ImageFolder(dataset.paths[0].rsplit("/", 2)[0], InputSpec((12, 12)))
    with pytest.raises(ValueError, match=r"data was read with InputSpec.*takes images by"):
        verify_tflite(path, network, dark)


def as_tf_data(x, y):
    tf = pytest.importorskip("tensorflow")
    return tf.data.Dataset.from_tensor_slices((x, y)).batch(8)


def as_data_loader(x, y):
    torch = pytest.importorskip("torch")
    tensors = torch.utils.data.TensorDataset(torch.tensor(x), torch.tensor(y))
    return torch.utils.data.DataLoader(tensors, batch_size=8)


FORMS = {
    "arrays": lambda x, y: (x, y),
    "array data set": ArrayDataset,
    "tf.data": as_tf_data,
    "DataLoader": as_data_loader,
    "batches": lambda x, y: [(x[:8], y[:8]), (x[8:], y[8:])],
    "generator": lambda x, y: ((a[None], b[None]) for a, b in zip(x, y, strict=True)),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_data_is_read(network, images, form):
    y = np.arange(20) % 4
    data = read(network, representative=FORMS[form](images, y), proof=FORMS[form](images, y))
    for samples in (data.representative, data.verification):
        np.testing.assert_array_equal(samples.inputs, images)
        np.testing.assert_array_equal(samples.labels, y)


@pytest.mark.parametrize("form", FORMS)
def test_calibrate_reads_every_form(network, images, form):
    expected, _ = kdl.compression.calibrate(network, images, verbose=0)
    data = FORMS[form](images, np.arange(20) % 4)
    quantized, _ = kdl.compression.calibrate(network, data, verbose=0)
    for one, other in zip(quantized.get_weights(), expected.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6)


@pytest.mark.parametrize("form", FORMS)
def test_recalibrate_reads_every_form(images, form):
    model = keras.Sequential([keras.Input((12, 12, 3)), keras.layers.BatchNormalization()])
    kdl.training.recalibrate(model, FORMS[form](images, np.arange(20)), verbose=0)
    mean = keras.ops.convert_to_numpy(model.layers[-1].moving_mean)
    np.testing.assert_allclose(mean, images.mean((0, 1, 2)), rtol=1e-4)


def test_a_data_set_is_read_in_part(network):
    x = np.zeros((1100, 12, 12, 3), "float32")
    data = ArrayDataset(x, np.zeros(1100))
    read_data = read(network, representative=data, proof=data)
    assert len(read_data.representative.inputs) == 500
    assert len(read_data.verification.inputs) == 1000
    assert len(read(network, representative=x).representative.inputs) == 1100


def test_what_is_given_counts_before_what_is_remembered_and_what_the_data_tells(network, dataset):
    assert read(network).info == ModelInfo()
    assert read(network, representative=dataset).info == ModelInfo(NAMES, SPEC)
    set_model_info(network, ModelInfo(NAMES[::-1], SPEC))
    assert read(network).info == ModelInfo(NAMES[::-1], SPEC)
    data = read(network, proof=dataset)
    assert data.info.labels == NAMES[::-1]
    assert data.verification.labels.tolist() == (3 - dataset.unaugmented()[1]).tolist()
    assert read(network, labels=list("abcd")).info == ModelInfo(list("abcd"), SPEC)


def test_data_that_was_read_for_another_model_is_refused(network, folder):
    set_model_info(network, ModelInfo(None, SPEC))
    other = ImageFolder(folder, InputSpec((12, 12)))
    for argument in ("representative", "proof"):
        with pytest.raises(ValueError, match=r"_data was read with InputSpec.*takes images by"):
            read(network, **{argument: other})
    with pytest.raises(ValueError, match="takes images by"):
        read(network, input_spec=InputSpec((12, 12), color="bgr"), proof=other)


def test_what_does_not_fit_the_model_is_not_taken_from_the_data(folder):
    network = small_network(outputs=2)
    assert read(network, representative=ImageFolder(folder, SPEC)).info.labels is None
    set_model_info(network, ModelInfo(NAMES, InputSpec((8, 8))))
    assert read(network).info == ModelInfo()


def test_an_open_size_is_that_of_the_input_specification():
    inputs = keras.Input((None, None, 1))
    model = keras.Model(inputs, keras.layers.GlobalMaxPooling2D()(inputs))
    with pytest.raises(ValueError, match="leaves sizes open"):
        read(model)
    assert read(model, input_shape=(5, 6, 1)).form.shape == (5, 6, 1)
    assert read(model, input_spec=InputSpec((7, 9), 1)).form.shape == (7, 9, 1)
    set_model_info(model, ModelInfo(None, InputSpec((8, 4), 1)))
    assert read(model).form.shape == (8, 4, 1)
    assert read(model, input_shape=(5, 6, 1)).info.input_spec is None
    with pytest.raises(ValueError, match=r"images of shape \(7, 9, 1\); the model takes \(5, 6"):
        read(model, input_shape=(5, 6, 1), input_spec=InputSpec((7, 9), 1))


@pytest.mark.parametrize("dtype", ["float32", "uint8", "int32"])
def test_made_up_inputs_have_the_dtype_of_the_model(dtype):
    inputs = keras.Input((6,), dtype=dtype)
    model = keras.Model(inputs, keras.layers.Rescaling(0.5)(inputs))
    made_up = read(model).verification.inputs
    assert made_up.shape == (8, 6)
    assert made_up.dtype == dtype
    assert made_up.min() < made_up.max()


def test_made_up_images_lie_in_the_range_of_the_input_specification(network):
    inputs = read(network, input_spec=SPEC).verification.inputs
    SPEC.check(inputs)
    assert inputs.min() < -1.9
    assert inputs.max() > 1.9


def test_a_pair_in_place_of_a_model_is_named(network, tmp_path):
    pair = kdl.deploy.rewrite_for(network, "gpu")
    with pytest.raises(ValueError, match=r"a tuple of 2.*`model, changes = kdl.deploy.rewrite_for"):
        export_tflite(pair, tmp_path / "m.tflite")


@pytest.mark.parametrize(
    "change",
    [
        kdl.compression.flatten,
        kdl.compression.fold_batch_norm,
        lambda model: kdl.deploy.rewrite_for(model, "gpu")[0],
        lambda model: kdl.compression.calibrate(model, np.ones((2, 12, 12, 3)), verbose=0)[0],
        lambda model: kdl.compression.strip(
            kdl.compression.prune(model, kdl.compression.ConstantSparsity(0.5, 0))
        ),
    ],
    ids=["flatten", "fold_batch_norm", "rewrite_for", "calibrate", "prune"],
)
def test_changed_models_remember(network, change):
    set_model_info(network, ModelInfo(NAMES, SPEC))
    assert get_model_info(change(network)) == ModelInfo(NAMES, SPEC)


def integer_model(dtype="uint8"):
    inputs = keras.Input((12, 12, 3), dtype=dtype)
    return keras.Model(inputs, keras.layers.Flatten()(keras.layers.Rescaling(1.0)(inputs)))


@pytest.mark.parametrize(
    ("dtype", "spec"),
    [
        ("uint8", InputSpec((12, 12), dtype="uint8")),
        ("uint8", InputSpec((12, 12), std=(1 / 255,) * 3)),
        ("int32", InputSpec((12, 12), mean=(128 / 255,) * 3, std=(1 / 255,) * 3)),
    ],
)
def test_an_input_of_integers_takes_images_that_become_whole_numbers(dtype, spec):
    data = read(integer_model(dtype), input_spec=spec)
    assert data.info.input_spec == spec


@pytest.mark.parametrize(
    "spec", [SPEC, InputSpec((12, 12)), InputSpec((12, 12), mean=(0.502,) * 3, std=(1 / 255,) * 3)]
)
def test_an_input_of_integers_refuses_images_that_become_others(spec):
    model = integer_model()
    with pytest.raises(ValueError, match=r"input of uint8 does not hold.*dtype='uint8'"):
        read(model, input_spec=spec)
    set_model_info(model, ModelInfo(None, spec))
    assert read(model).info.input_spec is None


def test_fractions_for_an_input_of_integers_are_refused(images):
    with pytest.raises(ValueError, match="representative_data must hold whole numbers"):
        read(integer_model(), representative=images)


def test_names_of_as_many_classes_as_boxes_have_sides_are_no_names_of_these(folder):
    inputs = keras.Input(SPEC.shape)
    x = keras.layers.GlobalAveragePooling2D()(inputs)
    boxes = keras.layers.Dense(len(NAMES), name="boxes")(x)
    network = keras.Model(inputs, {"boxes": boxes, "scores": keras.layers.Dense(1)(x)})
    assert read(network, representative=ImageFolder(folder, SPEC)).info.labels is None
    alone = keras.Model(inputs, boxes)
    assert read(alone, representative=ImageFolder(folder, SPEC)).info.labels == NAMES


@pytest.mark.export
def test_labels_for_no_output_are_refused_before_the_conversion(tmp_path):
    inputs = keras.Input((6, 3))
    model = keras.Model(inputs, keras.layers.Dense(5)(inputs))
    with pytest.raises(ValueError, match="Received 5 labels for a model of 5 classes"):
        export_tflite(model, tmp_path / "model.tflite", labels=list("abcde"))
