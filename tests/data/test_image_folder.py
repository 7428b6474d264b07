import io
import zipfile

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from kdl.data import ImageFolder, InputSpec, read_image_folder
from kdl.data.image_folder import _stratified

SPEC = InputSpec((2, 2), channels=1)
COUNTS = {"ant": 10, "bee": 20, "cow": 5}


def png(value):
    file = io.BytesIO()
    Image.new("L", (4, 4), value).save(file, "PNG")
    return file.getvalue()


def write(root, files):
    """`files` maps names to contents; returns the folder."""
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return root


def write_archive(root, files):
    with zipfile.ZipFile(root / "data.zip", "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return root / "data.zip"


WRITERS = pytest.mark.parametrize("store", [write, write_archive])


def animals(prefix="", counts=COUNTS):
    """Files whose gray value says which they are: 50 · class + number."""
    return {
        f"{prefix}{name}/{number:02}.png": png(50 * label + number)
        for label, (name, count) in enumerate(counts.items())
        for number in range(count)
    }


def grey_values(dataset):
    """The gray value and the label of every sample, in the order served."""
    pairs = []
    for images, labels in dataset:
        values = np.rint(images[:, 0, 0, 0] * 255).astype(int)
        pairs += zip(values.tolist(), labels.tolist(), strict=True)
    return pairs


def all_pairs(counts=COUNTS):
    return [(50 * label + i, label) for label, n in enumerate(counts.values()) for i in range(n)]


@WRITERS
@pytest.mark.parametrize("cache_bytes", [2**20, 0])
def test_reads_every_file_with_its_label(tmp_path, store, cache_bytes):
    path = store(tmp_path, animals())
    dataset = ImageFolder(path, SPEC, batch_size=8, shuffle=False, cache_bytes=cache_bytes)
    images, labels = dataset[0]
    assert (images.dtype, images.shape) == (np.float32, (8, 2, 2, 1))
    assert (labels.dtype, labels.shape) == (np.int64, (8,))
    assert grey_values(dataset) == all_pairs()
    assert dataset.class_names == ["ant", "bee", "cow"]
    assert dataset.num_samples == len(dataset.paths) == 35
    assert dataset.labels.dtype == np.int64
    assert dataset.labels.tolist() == [label for _, label in all_pairs()]
    assert dataset.skipped == []
    assert dataset.cached == (cache_bytes > 0)


@pytest.mark.parametrize(
    ("store", "first"), [(write, "/ant/00.png"), (write_archive, "ant/00.png")]
)
def test_paths_name_the_files(tmp_path, store, first):
    dataset = ImageFolder(store(tmp_path, animals()), SPEC)
    assert dataset.paths[0] == (str(tmp_path) + first if store is write else first)


def test_cache_limit_is_in_bytes(tmp_path):
    write(tmp_path, animals())
    assert ImageFolder(tmp_path, SPEC, cache_bytes=35 * 4).cached
    assert not ImageFolder(tmp_path, SPEC, cache_bytes=35 * 4 - 1).cached


def test_cached_images_need_no_files(tmp_path):
    files = animals()
    write(tmp_path, files)
    cached = ImageFolder(tmp_path, SPEC, shuffle=False)
    lazy = ImageFolder(tmp_path, SPEC, shuffle=False, cache_bytes=0)
    for name in files:
        (tmp_path / name).unlink()
    assert grey_values(cached) == all_pairs()
    with pytest.raises(FileNotFoundError, match=r"ant.00\.png"):
        lazy[0]


def test_images_are_normalized(tmp_path):
    write(tmp_path, {"a/1.png": png(51), "b/1.png": png(255)})
    spec = InputSpec((3, 5), mean=(0.2, 0.1, 0.0), std=(0.5, 1.0, 2.0))
    images = ImageFolder(tmp_path, spec, shuffle=False)[0][0]
    assert images.shape == (2, 3, 5, 3)
    np.testing.assert_allclose(images[0, 0, 0], [0, 0.1, 0.1], atol=1e-6)
    np.testing.assert_allclose(images[1, 2, 4], [1.6, 0.9, 0.5], atol=1e-6)


@pytest.mark.parametrize("cache_bytes", [2**20, 0])
def test_shuffles_by_seed_and_epoch(tmp_path, cache_bytes):
    write(tmp_path, animals())

    def runs(**arguments):
        dataset = ImageFolder(tmp_path, SPEC, batch_size=8, cache_bytes=cache_bytes, **arguments)
        first = grey_values(dataset)
        dataset.on_epoch_end()
        return dataset, first, grey_values(dataset)

    dataset, first, second = runs()
    assert sorted(first) == sorted(second) == all_pairs()
    assert first != second
    assert runs()[1:] == (first, second)
    assert runs(seed=1)[1] != first
    dataset.epoch = 0
    assert grey_values(dataset) == first


def test_batches_and_remainder(tmp_path):
    write(tmp_path, animals())
    sizes = [len(labels) for _, labels in ImageFolder(tmp_path, SPEC, batch_size=8)]
    assert sizes == [8, 8, 8, 8, 3]
    dropped = ImageFolder(tmp_path, SPEC, batch_size=8, drop_remainder=True)
    assert [len(labels) for _, labels in dropped] == [8, 8, 8, 8]


@WRITERS
@pytest.mark.parametrize("held_out", ["test", "val", "validation"])
def test_given_split_is_used(tmp_path, store, held_out):
    small = {"ant": 2, "bee": 3, "cow": 1}
    path = store(tmp_path, {**animals("train/"), **animals(f"{held_out}/", small)})
    train, test = read_image_folder(path, SPEC, batch_size=4)
    assert sorted(grey_values(train)) == all_pairs()
    assert grey_values(test) == all_pairs(small)
    assert (train.shuffle, test.shuffle) == (True, False)
    assert train.class_names == test.class_names == list(COUNTS)


def test_test_goes_before_validation(tmp_path):
    write(
        tmp_path,
        {
            **animals("train/"),
            **animals("val/"),
            **animals("test/", {"ant": 1, "bee": 1, "cow": 1}),
        },
    )
    assert read_image_folder(tmp_path, SPEC)[1].num_samples == 3


@WRITERS
@pytest.mark.parametrize("prefix", ["", "train/", "wrap/", "wrap/train/"])
def test_splits_where_no_split_is_given(tmp_path, store, prefix):
    path = store(tmp_path, animals(prefix))
    train, test = read_image_folder(path, SPEC, batch_size=4)
    assert sorted(grey_values(train) + grey_values(test)) == all_pairs()
    assert np.bincount(train.labels).tolist() == [8, 16, 4]
    assert np.bincount(test.labels).tolist() == [2, 4, 1]
    assert set(train.paths).isdisjoint(test.paths)
    assert (train.num_samples, test.num_samples) == (28, 7)
    assert grey_values(train) != sorted(grey_values(train))
    assert grey_values(test) == sorted(grey_values(test))


def test_split_depends_on_the_seed_alone(tmp_path):
    write(tmp_path, animals())
    first, again, other = (read_image_folder(tmp_path, SPEC, seed=s)[1].paths for s in (0, 0, 1))
    assert first == again != other


def test_seed_shuffles_a_given_split(tmp_path):
    write(tmp_path, {**animals("train/"), **animals("test/")})
    first, again, other = (
        grey_values(read_image_folder(tmp_path, SPEC, seed=s)[0]) for s in (0, 0, 1)
    )
    assert first == again != other


def test_split_halves_do_not_share_their_epoch(tmp_path):
    write(tmp_path, animals())
    train, test = ImageFolder(tmp_path, SPEC).train_test_split()
    train.epoch = 3
    assert test.epoch == 0


def test_only_training_drops_its_remainder(tmp_path):
    write(tmp_path, animals())
    train, test = read_image_folder(tmp_path, SPEC, batch_size=8, drop_remainder=True)
    assert [len(labels) for _, labels in train] == [8, 8, 8]
    assert [len(labels) for _, labels in test] == [7]


@given(
    counts=st.lists(st.integers(2, 30), min_size=2, max_size=5),
    fraction=st.floats(0.01, 0.99),
    seed=st.integers(0, 2**40),
)
def test_every_class_is_in_both_halves(counts, fraction, seed):
    labels = np.repeat(np.arange(len(counts)), counts)
    tested = np.bincount(labels[_stratified(labels, fraction, seed)], minlength=len(counts))
    for count, held_out in zip(counts, tested, strict=True):
        assert 1 <= held_out <= count - 1
        assert abs(held_out - fraction * count) <= 1


def test_unreadable_files_are_skipped_with_one_warning(tmp_path):
    bad = {f"bee/x{number}.png": png(number)[:40] for number in range(6)}
    write(tmp_path, {**animals(), **bad, "ant/notes.txt": b"words"})
    with pytest.warns(UserWarning, match=r"left out 7 files") as caught:
        dataset = ImageFolder(tmp_path, SPEC, shuffle=False)
    assert len(caught) == 1
    assert str(caught[0].message).count(".png") == 4
    assert "notes.txt" in str(caught[0].message)
    assert caught[0].filename == __file__
    assert dataset.skipped == [str(tmp_path / name) for name in ["ant/notes.txt", *sorted(bad)]]
    assert grey_values(dataset) == all_pairs()
    assert not set(dataset.skipped) & set(dataset.paths)


@pytest.mark.parametrize("cache_bytes", [2**20, 0])
def test_split_after_skipping(tmp_path, cache_bytes):
    path = write_archive(tmp_path, {"ant/00a.png": b"words", **animals()})
    with pytest.warns(UserWarning, match=r"left out 1 file that.*ant/00a\.png\. ") as caught:
        train, test = read_image_folder(path, SPEC, cache_bytes=cache_bytes)
    assert len(caught) == 1
    assert caught[0].filename == __file__
    assert sorted(grey_values(train) + grey_values(test)) == all_pairs()
    assert train.skipped == test.skipped == ["ant/00a.png"]


def test_hidden_files_are_ignored_silently(tmp_path):
    hidden = dict.fromkeys(("ant/.DS_Store", "bee/Thumbs.db", ".cache/x/1.png"), b"words")
    write(tmp_path, {**animals(), **hidden})
    assert ImageFolder(tmp_path, SPEC).skipped == []


def test_class_without_a_readable_file(tmp_path):
    write(tmp_path, {**animals(), "dog/1.png": b"words", "dog/2.png": b""})
    with pytest.raises(ValueError, match=r"No file of the class 'dog'.*1\.png"):
        ImageFolder(tmp_path, SPEC)


def test_different_classes(tmp_path):
    write(tmp_path, {**animals("train/"), "test/ant/1.png": png(1), "test/elk/1.png": png(1)})
    message = r"only in training: \['bee', 'cow'\], only in the test: \['elk'\]"
    with pytest.raises(ValueError, match=message):
        read_image_folder(tmp_path, SPEC)


def test_test_without_train(tmp_path):
    write(tmp_path, animals("test/"))
    with pytest.raises(ValueError, match="no folder 'train'"):
        read_image_folder(tmp_path, SPEC)


def test_class_with_one_image_cannot_be_split(tmp_path):
    write(tmp_path, animals(counts={"ant": 3, "bee": 1}))
    with pytest.raises(ValueError, match="'bee' has a single image"):
        read_image_folder(tmp_path, SPEC)


@pytest.mark.parametrize("fraction", [0, 1, -0.5, 20])
@pytest.mark.parametrize("prefixes", [[""], ["train/", "test/"]])
def test_refuses_fraction(tmp_path, fraction, prefixes):
    for prefix in prefixes:
        write(tmp_path, animals(prefix))
    with pytest.raises(ValueError, match="test_fraction must lie between 0 and 1"):
        read_image_folder(tmp_path, SPEC, test_fraction=fraction)


def test_missing_path(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        read_image_folder(tmp_path / "nowhere", SPEC)


@pytest.mark.parametrize("verbose", [0, 1])
def test_progress_bar(tmp_path, capsys, verbose):
    write(tmp_path, animals())
    ImageFolder(tmp_path, SPEC, verbose=verbose)
    assert ("35/35" in capsys.readouterr().out) == bool(verbose)


@pytest.mark.every_backend
def test_fit_and_evaluate(tmp_path):
    write(tmp_path, animals())
    train, test = read_image_folder(tmp_path, SPEC, batch_size=4)
    model = keras.Sequential([keras.layers.Flatten(), keras.layers.Dense(3)])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("adam", loss, metrics=["accuracy"])
    history = model.fit(train, validation_data=test, epochs=2, shuffle=False, verbose=0).history
    assert train.epoch == 2
    again = model.evaluate(test, verbose=0)
    np.testing.assert_allclose(again, [history["val_loss"][-1], history["val_accuracy"][-1]], 1e-5)


@WRITERS
@pytest.mark.parametrize("prefix", ["", "photos/", "train/", "photos/train/"])
def test_files_below_the_class_folders_are_told(tmp_path, store, prefix):
    deep = {f"{prefix}ant/more/{name}.png": png(1) for name in "ab"}
    path = store(tmp_path, {**animals(prefix), **deep})
    with pytest.warns(UserWarning, match=rf"left out 2 files in folders .*{prefix}ant/more/a\.png"):
        dataset = ImageFolder(path, SPEC, "train" if "train" in prefix else None)
    assert dataset.num_samples == 35
