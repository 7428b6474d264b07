import dataclasses
import functools
import hashlib
import http.server
import threading

import keras
import numpy as np
import pytest
from golden import stand_in

from kdl.applications import ShuffleNetV2, shufflenet_v2
from kdl.data import InputSpec, ModelInfo, get_model_info


@pytest.fixture
def served(tmp_path, monkeypatch):
    """A source whose file, in torchvision's format, is served on this machine."""
    import torch

    folder, cache = tmp_path / "served", tmp_path / "cache"
    folder.mkdir()
    cache.mkdir()
    state, _ = stand_in.load("shufflenet_v2_x1_0")
    path = folder / "weights.pth"
    torch.save({name: torch.tensor(value) for name, value in state.items()}, path)

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args):
            super().__init__(*args, directory=str(folder))

        def log_message(self, *args):
            return None

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    get_file = functools.partial(keras.utils.get_file, cache_dir=str(cache))
    monkeypatch.setattr(keras.utils, "get_file", get_file)
    source = dataclasses.replace(
        shufflenet_v2.IMAGENET[1.0],
        name="weights.pth",
        url=f"http://127.0.0.1:{server.server_port}/weights.pth",
        sha256=hashlib.sha256(path.read_bytes()).hexdigest()[:10],
    )
    monkeypatch.setitem(shufflenet_v2.IMAGENET, 1.0, source)
    yield source, path, state
    server.shutdown()
    server.server_close()


def test_imagenet_weights_are_downloaded_checked_and_converted(served):
    _, path, state = served
    model = ShuffleNetV2(1.0, input_shape=(32, 32, 3), weights="imagenet")
    kernel = model.get_layer("classifier").get_weights()[0]
    np.testing.assert_array_equal(kernel, state["fc.weight"].T)
    path.unlink()  # the second time it comes from the cache
    ShuffleNetV2(1.0, input_shape=(32, 32, 3), weights="imagenet", include_top=False)


def test_broken_file_in_the_cache_is_downloaded_again(served):
    source, path, _ = served
    cached = source.download()
    with open(cached, "r+b") as file:
        file.truncate(100)
    with open(source.download(), "rb") as file:
        assert file.read() == path.read_bytes()


def test_changed_file_raises_and_is_removed(served, tmp_path):
    source, path, _ = served
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(ValueError, match=f"{source.sha256}… was expected"):
        source.download()
    assert not list((tmp_path / "cache").rglob("weights.pth"))


def test_unreachable_address_raises(served):
    source, path, _ = served
    path.unlink()
    with pytest.raises(OSError, match=r"Could not download .*weights.pth"):
        source.download()


def test_restricting_license_warns_before_download(served):
    source, path, _ = served
    path.unlink()
    restricted = dataclasses.replace(source, license="CC BY-NC-SA 4.0", restricted=True)
    with (
        pytest.warns(UserWarning, match=r"restricts its use: CC BY-NC-SA 4\.0"),
        pytest.raises(OSError, match="Could not download"),
    ):
        restricted.download()


def test_file_without_checksum_warns_before_download(served):
    source, path, _ = served
    unknown = dataclasses.replace(source, sha256=None)
    assert (source.verified, unknown.verified) == (True, False)
    with pytest.warns(UserWarning, match=r"taken as it comes from .*tells no SHA-256"):
        cached = unknown.download()
    with open(cached, "rb") as file:
        assert file.read() == path.read_bytes()


def test_published_file_given_by_path_brings_its_preprocessing(served, tmp_path):
    source, path, _ = served
    arguments = {"input_shape": (32, 48, 3), "data_format": "channels_last"}
    model = ShuffleNetV2(1.0, weights=path, **arguments)
    expected = InputSpec((32, 48), mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
    assert source.input_spec((32, 48)) == expected
    assert get_model_info(model).input_spec == expected
    renamed = tmp_path / "other.pth"
    renamed.write_bytes(path.read_bytes())
    assert get_model_info(ShuffleNetV2(1.0, weights=renamed, **arguments)) == ModelInfo()


def test_is_file_compares_name_and_checksum(served):
    source, path, _ = served
    assert source.is_file(path)
    path.write_bytes(path.read_bytes() + b"x")
    assert not source.is_file(path)
    assert dataclasses.replace(source, sha256=None).is_file(path)
    assert not dataclasses.replace(source, name="a.pth", url="http://b/a.pth").is_file(path)


def test_unknown_preprocessing_raises(served):
    source, *_ = served
    with pytest.raises(ValueError, match="preprocessing must be one of 'torch', 'tf', 'bgr'"):
        dataclasses.replace(source, preprocessing="mystery").input_spec((8, 8))


def test_licence_is_the_old_name_of_license(served):
    source, *_ = served
    with pytest.warns(FutureWarning, match="licence is now license"):
        assert source.licence == source.license
