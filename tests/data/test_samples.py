import keras
import numpy as np
import pytest
from PIL import Image

from kdl.data import (
    ArrayDataset,
    ImageFolder,
    InputSpec,
    ModelInfo,
    PKSampler,
    RandomShift,
    Samples,
    read_samples,
)
from kdl.data._class_numbers import class_numbers
from kdl.data.reading import inputs_for_predict, samples_of_model

X = np.random.default_rng(0).random((10, 4, 5, 3), "float32")
Y = np.arange(10) % 3


class Numbered(keras.utils.PyDataset):
    def __init__(self, x, y=None, batch=4):
        super().__init__()
        self.x, self.y, self.batch = x, y, batch

    def __len__(self):
        return -(-len(self.x) // self.batch)

    def __getitem__(self, index):
        rows = slice(index * self.batch, (index + 1) * self.batch)
        return self.x[rows] if self.y is None else (self.x[rows], self.y[rows])


class Pairs:
    """What PyTorch calls a data set: single samples by number, with no end of its own."""

    def __len__(self):
        return len(X)

    def __getitem__(self, index):
        return X[index], Y[index]


def batches():
    for start in range(0, len(X), 4):
        yield X[start : start + 4], Y[start : start + 4]


def loader():
    torch = pytest.importorskip("torch")
    tensors = torch.utils.data.TensorDataset(torch.tensor(X), torch.tensor(Y))
    return torch.utils.data.DataLoader(tensors, batch_size=4)


def tf_data(batch=4):
    tf = pytest.importorskip("tensorflow")
    data = tf.data.Dataset.from_tensor_slices((X, Y))
    return data.batch(batch) if batch else data


LABELLED = {
    "pair": lambda: (X, Y),
    "triple": lambda: (X, Y, np.ones(10)),
    "pair of lists": lambda: (X.tolist(), Y.tolist()),
    "backend tensors": lambda: (keras.ops.convert_to_tensor(X), keras.ops.convert_to_tensor(Y)),
    "array data set": lambda: ArrayDataset(X, Y, 4, augment=RandomShift(2)),
    "PyDataset": lambda: Numbered(X, Y),
    "list of batches": lambda: list(batches()),
    "list of list batches": lambda: [list(batch) for batch in batches()],
    "generator": batches,
    "function": lambda: batches,
    "single samples": lambda: [(x, y) for x, y in zip(X, Y, strict=True)],
    "numbered samples": Pairs,
    "DataLoader": loader,
    "tf.data": tf_data,
    "tf.data of samples": lambda: tf_data(0),
}


@pytest.mark.parametrize("form", LABELLED)
def test_every_form_with_labels_gives_the_same_arrays(form):
    samples = read_samples(LABELLED[form](), input_shape=(4, 5, 3))
    np.testing.assert_allclose(samples.inputs, X, rtol=1e-6)
    np.testing.assert_array_equal(samples.labels, Y)


@pytest.mark.parametrize(
    "data",
    [
        X,
        X.tolist(),
        (X,),
        list(X),
        [X[:6], X[6:]],
        [[X[:6]], [X[6:]]],
        [{"image": X}],
        Numbered(X),
        lambda: ([x[None]] for x in X),
    ],
    ids=[
        *("array", "nested list", "tuple of one", "samples", "batches", "lists of one", "dict"),
        *("PyDataset", "representative dataset of TFLite"),
    ],
)
def test_every_form_without_labels_gives_the_same_arrays(data):
    samples = read_samples(data, input_shape=(4, None, 3))
    np.testing.assert_allclose(samples.inputs, X, rtol=1e-6)
    assert samples.labels is None


@pytest.mark.parametrize("dtype", ["uint8", "int32", "float16", "float64", "bool"])
def test_dtypes_stay(dtype):
    x = np.ones((3, 2), dtype)
    for data in (x, [x], Numbered(x), ArrayDataset(x, np.zeros(3))):
        assert read_samples(data).inputs.dtype == dtype


def test_bfloat16_becomes_float32():
    samples = read_samples(keras.ops.ones((2, 3), "bfloat16"))
    assert samples.inputs.dtype == "float32"
    assert samples.inputs.tolist() == [[1.0] * 3] * 2


@pytest.mark.parametrize(
    "form",
    ["array data set", "PyDataset", "generator", "list of batches", "DataLoader", "tf.data"],
)
def test_limit_of_a_data_set(form):
    samples = read_samples(LABELLED[form](), limit=6, input_shape=(4, 5, 3))
    assert samples.inputs.shape == (6, 4, 5, 3)
    for x, y in zip(samples.inputs, samples.labels, strict=True):
        row = int(np.flatnonzero((x == X).all((1, 2, 3)))[0])
        assert y == Y[row]
    assert len(read_samples((X, Y), limit=6).inputs) == 10  # arrays are what was asked for


def test_limit_stops_an_endless_generator():
    def endless():
        while True:
            yield from batches()

    assert len(read_samples(endless(), limit=25).inputs) == 25


def test_limit_takes_sorted_data_from_all_classes():
    x, y = np.zeros((1000, 2)), np.repeat(np.arange(10), 100)
    for data in (ArrayDataset(x, y, shuffle=False), Numbered(x, y)):
        assert set(read_samples(data, limit=200).labels) == set(range(10))


def test_reading_leaves_the_epoch_of_a_data_set():
    data = ArrayDataset(X, Y, 4)
    before = [y.tolist() for _, y in data]
    data.on_epoch_end()
    data.epoch = 0
    read_samples(data)
    data.on_epoch_end()
    assert data.epoch == 0
    assert [y.tolist() for _, y in data] == before


def test_a_sampler_gives_each_sample_once():
    samples = read_samples(PKSampler(X, Y, classes_per_batch=2, samples_per_class=2))
    np.testing.assert_array_equal(samples.inputs, X)
    np.testing.assert_array_equal(samples.labels, Y)


@pytest.fixture
def folder(tmp_path):
    for number, name in enumerate(("cat", "dog")):
        (tmp_path / name).mkdir()
        for index in range(3):
            image = Image.new("RGB", (6, 6), (100 * number, 10 * index, 0))
            image.save(tmp_path / name / f"{index}.png")
    return tmp_path


def test_a_folder_tells_its_classes_and_input_specification(folder):
    spec = InputSpec((4, 4), mean=(0.5,) * 3, std=(0.5,) * 3)
    data = ImageFolder(folder, spec, augment=RandomShift(2))
    for source in (data, PKSampler(data, classes_per_batch=2, samples_per_class=1)):
        samples = read_samples(source, input_shape=(4, 4, 3))
        assert samples.class_names == ["cat", "dog"]
        assert samples.input_spec == spec
        assert samples.labels.tolist() == [0, 0, 0, 1, 1, 1]
        assert (
            samples.inputs[3, 0, 0].tolist() == spec.load(folder / "dog" / "0.png")[0, 0].tolist()
        )


def test_class_names_of_other_libraries():
    class Folder(list):
        classes = ("cat", "dog")

    class Loader(list):
        dataset = Folder()

    assert read_samples(Folder([(X, Y)])).class_names == ["cat", "dog"]
    assert read_samples(Loader([(X, Y)])).class_names == ["cat", "dog"]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (None, "data must be an array.*received None"),
        ("photos", r"received 'photos'. Read a folder with kdl.data.read_image_folder"),
        (3, "data must be an array.*received 3"),
        ((X, Y, Y, Y), "received 4 values"),
        ((ArrayDataset(X, Y), Y), "a tuple of 2: a ArrayDataset"),
        ([X, Y], "one shape"),
        ([], "holds no samples"),
        (iter(()), "can be read once"),
        (np.zeros((0, 4, 5, 3)), "at least one"),
        (X[0, 0, 0], r"Expected inputs \(samples, …\)"),
        (X[0, 0], r"must have shape \(samples, 4, 5, 3\); received \(5, 3\)"),
        (np.float32(3), "Expected inputs"),
        (X[:, :3], r"must have shape \(samples, 4, 5, 3\); received \(10, 3, 5, 3\)"),
        (np.moveaxis(X, -1, 1), r"received \(10, 3, 4, 5\). Its channels stand first"),
        ((X, Y[:4]), "10 inputs but 4 labels"),
        ((X, 3), "10 inputs but 1 labels"),
        ([(X, Y), X], "some batches have labels"),
        ([(X, Y, Y, Y)], "received 4 values"),
        ([{"image": X, "label": Y}], r"a dictionary of \['image', 'label'\]. Map it"),
        ([(X, {"label": Y})], "labels must be one array"),
        (["a.png"], "must hold numbers; received 'a.png'"),
        ([[1, 2], [3]], "what is no array"),
        (np.where(X > 0.99, np.nan, X), "not finite.*first in sample"),
    ],
    ids=lambda value: value[:20] if isinstance(value, str) else type(value).__name__,
)
def test_what_is_no_data_is_named(data, message):
    with pytest.raises(ValueError, match=message):
        read_samples(data, input_shape=(4, 5, 3))


def test_endless_data_sets_need_a_limit():
    class Endless(Numbered):
        num_batches = None

    data = Endless(np.tile(X, (50, 1, 1, 1)))
    with pytest.raises(ValueError, match="endless"):
        read_samples(data)
    tf = pytest.importorskip("tensorflow")
    with pytest.raises(ValueError, match="endless"):
        read_samples(tf.data.Dataset.from_tensor_slices(X).batch(4).repeat())


def test_labels_are_matched_by_name():
    samples = Samples(X, Y, ["dog", "cat", "ant"])
    matched = samples.matched(ModelInfo(["ant", "cat", "dog", "eel"]))
    assert matched.labels.tolist() == [{0: 2, 1: 1, 2: 0}[label] for label in Y]
    one_hot = Samples(X, np.eye(3)[Y], ["dog", "cat", "ant"])
    assert one_hot.matched(ModelInfo(["ant", "cat", "dog"])).labels.tolist() == (
        matched.labels.tolist()
    )
    assert samples.matched(ModelInfo(["dog", "cat", "ant"])) is samples
    assert samples.matched(ModelInfo()) is samples


def test_labels_of_other_classes_are_left_out():
    samples = Samples(X, Y, ["dog", "horse", "cat"])
    with pytest.warns(UserWarning, match=r"'dog', 'horse', 'cat', the model 'cat', 'dog'") as seen:
        matched = samples.matched(ModelInfo(["cat", "dog"]), "photos")
    assert matched.labels is None
    assert matched.inputs is X
    assert seen[0].filename == __file__


def test_labels_beyond_the_class_names_are_refused():
    with pytest.raises(ValueError, match="2 classes but labels 0 … 2"):
        Samples(X, Y, ["b", "a"]).matched(ModelInfo(["a", "b"]))


def test_labels_of_pixels_stay():
    samples = Samples(X, np.zeros((10, 4, 5)), ["road", "sky"])
    assert samples.matched(ModelInfo(["sky", "road"])) is samples


def test_another_input_specification_is_refused():
    spec = InputSpec((4, 5), mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
    samples = Samples(X, input_spec=spec)
    near = InputSpec((4, 5), mean=tuple(np.float32(spec.mean)), std=tuple(np.float32(spec.std)))
    assert samples.matched(ModelInfo(None, near)) is samples
    with pytest.raises(ValueError, match=r"data was read with InputSpec.*takes images by Input"):
        samples.matched(ModelInfo(None, InputSpec((4, 5))))


def test_class_numbers():
    assert class_numbers(np.eye(3)).tolist() == [0, 1, 2]
    assert class_numbers(np.arange(3)[:, None]).tolist() == [0, 1, 2]
    assert class_numbers(None) is None
    maps = np.zeros((2, 3, 3))
    assert class_numbers(maps) is maps
    with pytest.raises(ValueError, match="2 inputs but 16 labels"):
        class_numbers(np.zeros((2, 2, 2, 2)))


def test_predict_takes_what_keras_would_mistake():
    model = keras.Sequential([keras.Input((4, 5, 3)), keras.layers.Flatten()])
    expected = X.reshape(10, -1)
    for data in (X, (X, Y), list(batches()), Numbered(X, Y), batches, [X]):
        outputs = model.predict(inputs_for_predict(data, model), verbose=0, batch_size=5)
        np.testing.assert_allclose(outputs, expected, rtol=1e-6)


@pytest.mark.parametrize("kind", ["ArrayDataset", "ImageFolder", "PKSampler"])
def test_data_sets_tell_what_they_hold(kind, folder):
    spec = InputSpec((4, 4))
    data = ImageFolder(folder, spec)
    text = {
        "ArrayDataset": lambda: repr(ArrayDataset(X, Y, 4)),
        "ImageFolder": lambda: repr(data),
        "PKSampler": lambda: repr(PKSampler(data, classes_per_batch=2, samples_per_class=1)),
    }[kind]()
    expected = {
        "ArrayDataset": "<ArrayDataset: 10 samples, 3 batches>",
        "ImageFolder": f"<ImageFolder: 6 samples, 1 batch, 2 classes, {spec}>",
        "PKSampler": f"<PKSampler: 2 samples, 1 batch, 2 classes, {spec}>",
    }
    assert text == expected[kind]


def test_several_inputs_are_read_in_the_form_of_their_shapes():
    x, z = X[:, 0], np.arange(10.0)[:, None]
    forms = {
        "dict": ({"x": (5, None), "z": (1,)}, {"z": z, "x": x, "more": Y}),
        "list": ([(5, 3), (1,)], [x, z]),
        "nested": ({"p": [(5, 3)], "q": {"z": (1,)}}, {"q": {"z": z}, "p": (x,)}),
    }
    for shapes, data in forms.values():
        for given in (data, (data, Y), [(data, Y)], lambda data=data: iter([data])):
            samples = read_samples(given, input_shape=shapes)
            assert len(samples) == 10
            assert [a.shape[1:] for a in samples.arrays] == [(5, 3), (1,)]
            half = samples.subset(np.arange(10) < 5)
            np.testing.assert_array_equal(half.arrays[1], z[:5])
    rows = [((a, b), y) for a, b, y in zip(x, z, Y, strict=True)]
    np.testing.assert_array_equal(read_samples(rows, 7, [(5, 3), (1,)]).inputs[0], x[:7])
    with pytest.raises(ValueError, match=r"must hold the inputs \{'x': .*Received a dictionary"):
        read_samples([{"x": x}], input_shape=forms["dict"][0])


def test_inputs_without_an_axis_of_their_own():
    samples = read_samples({"age": Y, "x": X}, input_shape={"age": (), "x": (4, 5, 3)})
    assert samples.inputs["age"].shape == (10,)


def test_functions_and_loaders_keep_class_names_and_scale():
    images = np.zeros((4, 4, 4, 1), "float32")
    spec = InputSpec((4, 4), 1)
    made = ArrayDataset(images, np.array([0, 0, 1, 1]), class_names=["dog", "cat"], spec=spec)
    samples = read_samples(lambda: made)
    assert (samples.class_names, samples.input_spec) == (["dog", "cat"], spec)
    assert samples.matched(ModelInfo(["cat", "dog"])).labels.tolist() == [1, 1, 0, 0]


class Loader:
    """As a loader of a subset of a data set: the names are two steps inside."""

    def __init__(self, inner):
        self.dataset = type("Subset", (), {"dataset": inner})()

    def __iter__(self):
        return iter([(np.zeros((2, 4)), np.arange(2))])


def test_names_of_a_data_set_within_two_others():
    inner = type("Folder", (), {"classes": ["a", "b"]})()
    assert read_samples(Loader(inner)).class_names == ["a", "b"]


@pytest.mark.parametrize("rows", [[[0, 1, 1], [0, 0, 1]], [[0.3, 2.7], [5, 1]], [[0, 0], [0, 1]]])
def test_rows_that_are_no_distribution_are_no_classes(rows):
    with pytest.raises(ValueError, match="must be one-hot"):
        class_numbers(np.array(rows))
    assert class_numbers(np.float32([[0.9, 0.1], [0.4, 0.6]])).tolist() == [0, 1]


def integer_model():
    inputs = {"image": keras.Input((2,), dtype="uint8", name="image")}
    inputs["x"] = keras.Input((1,), name="x")
    parts = [keras.layers.Rescaling(1.0)(inputs["image"]), inputs["x"]]
    return keras.Model(inputs, keras.layers.Concatenate()(parts))


def test_floats_for_an_input_of_integers_are_rounded():
    data = {"image": np.float32([[6.9999995, 255]]), "x": np.float32([[0.3]])}
    samples = samples_of_model(data, integer_model())
    assert samples.inputs["image"].tolist() == [[7, 255]]
    assert samples.inputs["x"].tolist() == data["x"].tolist()


def test_fractions_for_an_input_of_integers_are_refused():
    data = {"image": np.float32([[0, 0.37]]), "x": np.float32([[0.3]])}
    with pytest.raises(ValueError, match=r"data for the input image.* whole numbers, since uint8"):
        samples_of_model(data, integer_model())


def test_bytes_of_resized_images_are_rounded():
    """`keras.utils.image_dataset_from_directory` gives such floats."""
    data = {"image": np.float32([[127.4, 0.37], [254.6, 3.5]]), "x": np.float32([[0.3], [0.4]])}
    samples = samples_of_model(data, integer_model())
    assert samples.inputs["image"].tolist() == [[127, 0], [255, 4]]
    data["image"] = np.float32([[258.7, -3.2], [0, 0]])  # of cubic resizing
    assert samples_of_model(data, integer_model()).inputs["image"].tolist() == [[255, 0], [0, 0]]


def test_integers_for_predict_are_left_to_keras():
    """Which adds the axis of one channel."""
    model = keras.Sequential([keras.Input((3, 3, 1), dtype="uint8"), keras.layers.Flatten()])
    images = np.zeros((2, 3, 3), "uint8")
    assert inputs_for_predict(images, model) is images


def test_arrays_for_predict_are_rounded_for_an_input_of_integers():
    inputs = keras.Input((2,), dtype="int32")
    model = keras.Model(inputs, keras.layers.Embedding(9, 2)(inputs))
    assert inputs_for_predict(np.float32([[1.9999999, 2]]), model).tolist() == [[2, 2]]
