import zlib

import h5py
import keras
import numpy as np
import pytest
from mutation import assert_survives, mutations

from kdl.applications.weights.hdf5_file import open_hdf5
from kdl.applications.weights.keras_file import read_keras_weights


def weights_file(path, layers=("one", "two")):
    """A legacy file of weights, as `keras.applications` publishes them."""
    with h5py.File(path, "w") as file:
        group = file.create_group("model_weights")
        group.attrs["layer_names"] = [name.encode() for name in layers]
        for name in layers:
            layer = group.create_group(name)
            layer.attrs["weight_names"] = [f"{name}/kernel:0".encode()]
            layer[f"{name}/kernel:0"] = np.arange(6, dtype="float32").reshape(2, 3)
    return path


def replaced(path, change):
    """Replaces the kernel of layer `one`: `change(group, name)`."""
    with h5py.File(weights_file(path), "r+") as file:
        group = file["model_weights/one/one"]
        del group["kernel:0"]
        change(group, "kernel:0")
    return path


def external(group, name):
    other = group.file.filename + ".txt"
    with open(other, "wb") as file:
        file.write(bytes(64))
    group.create_dataset(name, (4,), "f4", external=[(other, 0, 16)])


def virtual(group, name):
    weights_file(group.file.filename + ".other")
    layout = h5py.VirtualLayout((2, 3), "f4")
    source = "model_weights/one/one/kernel:0"
    layout[:] = h5py.VirtualSource(group.file.filename + ".other", source, (2, 3))
    group.create_virtual_dataset(name, layout)


def linked_file(group, name):
    weights_file(group.file.filename + ".other")
    group[name] = h5py.ExternalLink(
        group.file.filename + ".other", "model_weights/two/two/kernel:0"
    )


def soft_link(group, name):
    group[name] = h5py.SoftLink("/model_weights/two/two/kernel:0")


def loop(group, name):
    group[name] = h5py.SoftLink(f"{group.name}/other")
    group["other"] = h5py.SoftLink(f"{group.name}/{name}")


def huge(group, name):
    group.create_dataset(name, (2**31,), "f4", chunks=(1024,))


def texts(group, name):
    group[name] = ["a", "b"]


def shared(group, name):
    group[name] = group.file["model_weights/two/two/kernel:0"]


def packed(group, name, content, chunks=(2, 3), **packing):
    """A packed data set of shape (2, 3), whose chunk is given as it lies in the file."""
    packing = {"compression": "gzip", **packing}
    data = group.create_dataset(name, (2, 3), "f4", chunks=chunks, maxshape=(None, 3), **packing)
    data.id.write_direct_chunk((0, 0), content)


def bomb(group, name):
    packed(group, name, zlib.compress(bytes(1 << 20)))


def bomb_of_checked_bytes(group, name):
    packed(group, name, zlib.compress(bytes(1 << 20)) + b"sum.", fletcher32=True, shuffle=True)


def huge_chunk(group, name):
    packed(group, name, zlib.compress(bytes(1000)), chunks=(2**27, 3))


def unknown_packing(group, name):
    group.create_dataset(name, (2, 3), "i4", chunks=(2, 3), scaleoffset=0)


def a_group(group, name):
    group.create_group(name)


CHANGES = [external, virtual, linked_file, soft_link, loop, huge, texts, shared, a_group]
CHANGES += [bomb, bomb_of_checked_bytes, huge_chunk, unknown_packing]


@pytest.mark.parametrize("change", CHANGES)
def test_hdf5_links_and_external_data_raise(change, tmp_path):
    path = replaced(tmp_path / "bad.h5", change)
    with pytest.raises(ValueError, match=r"bad\.h5 is not a file of weights"):
        read_keras_weights(path)
    assert assert_survives(read_keras_weights, path, [path.read_bytes()], memory=4 << 20) == 1


@pytest.mark.parametrize(
    "packing",
    [
        {"compression": "gzip"},
        {"compression": "gzip", "shuffle": True, "fletcher32": True},
        {"compression": "lzf", "shuffle": True},
        {"fletcher32": True},
    ],
)
def test_hdf5_compressed_weights_are_read(packing, tmp_path):
    weights = np.random.default_rng(0).random((50, 7)).astype("float32")

    def pack(group, name):
        group.create_dataset(name, data=weights, chunks=(16, 4), **packing)

    arrays = read_keras_weights(replaced(tmp_path / "m.h5", pack))
    assert np.array_equal(arrays["one.kernel"], weights)


@pytest.mark.parametrize("link", [h5py.ExternalLink("other.h5", "/"), h5py.SoftLink("/nowhere")])
def test_hdf5_links_at_the_top_raise(link, tmp_path):
    path = weights_file(tmp_path / "bad.h5")
    with h5py.File(path, "r+") as file:
        file["elsewhere"] = link
    with pytest.raises(ValueError, match="link to elsewhere"), open_hdf5(path):
        pass


@pytest.mark.parametrize("change", [external, virtual, linked_file, huge, bomb])
@pytest.mark.parametrize("suffix", [".weights.h5", ".keras"])
def test_own_files_are_checked_before_keras_reads_them(change, suffix, tmp_path):
    import zipfile

    from kdl.applications import MobileNet

    arguments = {"alpha": 0.25, "input_shape": (32, 32, 3), "classes": 2}
    model = MobileNet(**arguments)
    inner, path = tmp_path / "m.weights.h5", tmp_path / f"bad{suffix}"
    model.save_weights(inner)
    with h5py.File(inner, "r+") as file:
        change(file, "extra")
    if suffix == ".keras":
        model.save(tmp_path / "sound.keras")
        with zipfile.ZipFile(tmp_path / "sound.keras") as old, zipfile.ZipFile(path, "w") as new:
            for name in ("metadata.json", "config.json"):
                new.writestr(name, old.read(name))
            new.write(inner, "model.weights.h5")
    else:
        inner.rename(path)
    with pytest.raises(ValueError, match=rf"bad\{suffix} does not fit .*extra"):
        MobileNet(**arguments, weights=path)


def test_hdf5_group_that_contains_itself_is_visited_once(tmp_path):
    path = weights_file(tmp_path / "m.h5")
    with h5py.File(path, "r+") as file:
        file["model_weights/again"] = file["model_weights"]
    assert list(read_keras_weights(path)) == ["one.kernel", "two.kernel"]


def test_randomly_damaged_file_raises_value_error_or_loads(tmp_path):
    path = weights_file(tmp_path / "m.h5")
    content = path.read_bytes()
    assert assert_survives(read_keras_weights, path, mutations(content, 300)) > 50
    path.write_bytes(content)
    assert read_keras_weights(path)["two.kernel"].shape == (2, 3)


def test_keras_model_as_source_needs_no_file():
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(3, name="d")])
    assert list(read_keras_weights(model)) == ["d.kernel", "d.bias"]
