import pickle
import zipfile

import numpy as np
import pytest
from PIL import Image

from kdl.data import InputSpec
from kdl.data._image_files import ImageFiles

SPEC = InputSpec((2, 2), channels=1)


def make_folder(root, files):
    """Writes a 2×2 image, its value the file's place in the list, for each name."""
    for value, name in enumerate(files):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (2, 2), value).save(path, "PNG")
    return root


def make_archive(root, files):
    make_folder(root / "source", files)
    with zipfile.ZipFile(root / "data.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for name in files:
            archive.write(root / "source" / name, name)
    return root / "data.zip"


MAKERS = pytest.mark.parametrize("make", [make_folder, make_archive])


def found(files):
    """`splits` with the last part of each file's name only."""
    return {
        split: {name: [m.split("/")[-1] for m in members] for name, members in classes.items()}
        for split, classes in files.splits.items()
    }


@MAKERS
def test_classes_at_the_top(tmp_path, make):
    path = make(tmp_path, ["b/2.png", "b/10.png", "a/1.png", "notes.txt"])
    assert found(ImageFiles(path)) == {None: {"a": ["1.png"], "b": ["10.png", "2.png"]}}


@MAKERS
@pytest.mark.parametrize(
    ("folder", "split"),
    [("test", "test"), ("val", "validation"), ("validation", "validation"), ("Test", "test")],
)
def test_splits(tmp_path, make, folder, split):
    names = [f"{part}/{name}/1.png" for part in ("train", folder) for name in ("a", "b")]
    files = ImageFiles(make(tmp_path, [*names, "extra/words.txt"]))
    assert found(files) == {
        "train": {"a": ["1.png"], "b": ["1.png"]},
        split: {"a": ["1.png"], "b": ["1.png"]},
    }


def test_val_is_an_alias(tmp_path):
    files = ImageFiles(make_folder(tmp_path, ["val/a/1.png", "val/b/1.png"]))
    assert files.class_files("val") == files.class_files("validation")


@MAKERS
@pytest.mark.parametrize("inner", ["", "train/", "test/"])
def test_one_wrapping_folder_is_stepped_into(tmp_path, make, inner):
    names = [f"photos/{inner}a/1.png", f"photos/{inner}b/1.png", "README"]
    assert found(ImageFiles(make(tmp_path, names))) == {
        inner.strip("/") or None: {"a": ["1.png"], "b": ["1.png"]}
    }


@MAKERS
def test_a_class_may_be_called_train(tmp_path, make):
    files = ImageFiles(make(tmp_path, ["train/1.png", "train/more/2.png", "bus/1.png"]))
    assert found(files) == {None: {"bus": ["1.png"], "train": ["1.png"]}}


@MAKERS
def test_hidden_files_are_ignored(tmp_path, make):
    hidden = ["a/.DS_Store", "a/Thumbs.db", "a/._1.png", ".git/x/1.png", "__MACOSX/a/1.png"]
    files = ImageFiles(make(tmp_path, ["a/1.png", "b/1.png", "b/desktop.ini", *hidden]))
    assert found(files) == {None: {"a": ["1.png"], "b": ["1.png"]}}


def test_archive_entries_may_begin_with_a_dot_folder(tmp_path):
    with zipfile.ZipFile(tmp_path / "data.zip", "w") as archive:
        for name in ("./a/1.png", "./b/1.png"):
            archive.writestr(name, b"x")
    assert found(ImageFiles(tmp_path / "data.zip")) == {None: {"a": ["1.png"], "b": ["1.png"]}}


@MAKERS
def test_decodes_the_named_file(tmp_path, make):
    names = ["a/1.png", "a/2.png", "b/1.png"]
    files = ImageFiles(make(tmp_path, names))
    for members in files.class_files(None).values():
        for name in members:
            value = next(i for i, known in enumerate(names) if name.endswith(known))
            assert (files.decode(name, SPEC) == value).all()


def test_can_be_pickled(tmp_path):
    files = ImageFiles(make_archive(tmp_path, ["a/1.png", "b/1.png"]))
    again = pickle.loads(pickle.dumps(files))
    assert again.splits == files.splits
    np.testing.assert_array_equal(again.decode("b/1.png", SPEC), files.decode("b/1.png", SPEC))


def test_missing_path(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no folder or zip archive .*nowhere"):
        ImageFiles(tmp_path / "nowhere")


@pytest.mark.parametrize("content", [b"", b"words", b"PK\x03\x04 and then nothing"])
def test_corrupt_archive(tmp_path, content):
    (tmp_path / "data.zip").write_bytes(content)
    with pytest.raises(ValueError, match=r"data\.zip is neither a folder nor a sound zip"):
        ImageFiles(tmp_path / "data.zip")


def test_truncated_archive(tmp_path):
    path = make_archive(tmp_path, ["a/1.png", "b/1.png"])
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(ValueError, match="neither a folder nor a sound zip"):
        ImageFiles(path)


def test_damaged_entry_is_named(tmp_path):
    path = make_archive(tmp_path, ["a/1.png", "b/1.png"])
    content = bytearray(path.read_bytes())
    content[content.index(b"a/1.png") + 20] ^= 255
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"Cannot read a/1\.png from .*data\.zip"):
        ImageFiles(path).decode("a/1.png", SPEC)


@pytest.mark.parametrize("names", [["1.png", "2.png"], ["only/1.png"], ["wrap/only/1.png"]])
def test_fewer_than_two_classes(tmp_path, names):
    files = ImageFiles(make_folder(tmp_path, names))
    with pytest.raises(ValueError, match="at least two class folders"):
        files.class_files(None)


def test_empty_class_folder(tmp_path):
    make_folder(tmp_path, ["a/1.png", "b/1.png", "nested/deeper/1.png"])
    (tmp_path / "c").mkdir()
    with pytest.raises(ValueError, match=r"2 class folder.*\['c', 'nested'\]"):
        ImageFiles(tmp_path).class_files(None)


def test_empty_class_folder_in_an_archive(tmp_path):
    path = make_archive(tmp_path, ["a/1.png", "b/1.png"])
    with zipfile.ZipFile(path, "a") as archive:
        archive.mkdir("c")
    with pytest.raises(ValueError, match=r"1 class folder.*\['c'\]"):
        ImageFiles(path).class_files(None)


def test_missing_split(tmp_path):
    files = ImageFiles(make_folder(tmp_path, ["train/a/1.png", "train/b/1.png"]))
    with pytest.raises(ValueError, match="has no split 'test'; it has split 'train'"):
        files.class_files("test")
    with pytest.raises(ValueError, match="has no class folders at the top"):
        files.class_files(None)


def test_split_given_twice(tmp_path):
    make_folder(tmp_path, ["val/a/1.png", "val/b/1.png", "validation/a/1.png"])
    with pytest.raises(ValueError, match="Two folders hold the split 'validation'"):
        ImageFiles(tmp_path)
