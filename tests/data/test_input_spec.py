import io
import json
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image, JpegImagePlugin

from kdl.data import InputSpec
from kdl.data._decoding import image_size, image_suffixes

IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}


def saved(image, path, **options):
    image.save(path, **options)
    return path


def noise(shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape, "uint8")


def smooth(height, width):
    y, x = np.mgrid[:height, :width]
    planes = [255 * x / width, 255 * y / height, 127 + 120 * np.sin(6 * x / width)]
    return np.stack(planes, axis=-1).astype("uint8")


@given(
    hnp.arrays("uint8", hnp.array_shapes(min_dims=0, max_dims=3, max_side=4).map(lambda s: (*s, 3)))
)
def test_normalize_is_the_formula(images):
    result = InputSpec((4, 4), **IMAGENET).normalize(images)
    expected = (images.astype("float64") / 255 - IMAGENET["mean"]) / IMAGENET["std"]
    assert result.dtype == np.float32
    assert result.shape == images.shape
    np.testing.assert_allclose(result, expected, atol=1e-6)


def test_normalize_leaves_its_argument_alone():
    images = noise((2, 4, 4, 3))
    before = images.copy()
    InputSpec((4, 4), **IMAGENET).normalize(images)
    np.testing.assert_array_equal(images, before)


def test_default_scale_is_zero_to_one():
    spec = InputSpec((1, 1), channels=1)
    assert (spec.mean, spec.std) == ((0.0,), (1.0,))
    np.testing.assert_array_equal(
        spec.normalize(np.array([0, 51, 255], "uint8")[:, None]),
        np.array([0, 51 / 255, 1], "float32")[:, None],
    )


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.zeros((4, 4, 3), "float32"), "uint8"),
        (np.zeros((4, 4, 1), "uint8"), "3 channels"),
        (np.uint8(3), "3 channels"),
    ],
)
def test_normalize_refuses(images, message):
    with pytest.raises(ValueError, match=message):
        InputSpec((4, 4)).normalize(images)


def test_decode_resizes_as_pillow(tmp_path):
    image = Image.fromarray(noise((13, 9, 3)))
    path = saved(image, tmp_path / "a.png")
    decoded = InputSpec((6, 4)).decode(path)
    assert decoded.dtype == np.uint8
    assert decoded.shape == (6, 4, 3)
    np.testing.assert_array_equal(decoded, image.resize((4, 6), Image.Resampling.BILINEAR))


def test_load_normalizes_what_decode_reads(tmp_path):
    path = saved(Image.fromarray(noise((8, 8, 3))), tmp_path / "a.png")
    spec = InputSpec((4, 5), **IMAGENET)
    loaded = spec.load(str(path))
    assert loaded.dtype == np.float32
    np.testing.assert_array_equal(loaded, spec.normalize(spec.decode(path)))


def test_reads_an_open_file():
    pixels = noise((4, 4, 3))
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    np.testing.assert_array_equal(InputSpec((4, 4)).decode(file), pixels)


UPRIGHT = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: np.rot90(a),
}


@pytest.mark.parametrize("orientation", UPRIGHT)
@pytest.mark.parametrize("suffix", ["jpg", "png", "tiff", "webp"])
def test_size_of_an_image_that_stands(tmp_path, orientation, suffix):
    """A large JPEG file would be read at a part of its size; Pillow may turn a TIFF."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = saved(Image.fromarray(smooth(40, 60)), tmp_path / f"m.{suffix}", exif=exif)
    expected = UPRIGHT[orientation](smooth(40, 60)).shape[:2]
    assert image_size(path) == expected
    with open(path, "rb") as file:
        assert image_size(file) == expected
        assert InputSpec((4, 4)).load(file).shape == (4, 4, 3)
    array = smooth(40, 60)[..., :1]
    assert image_size(array) == image_size(Image.fromarray(array[..., 0])) == (40, 60)
    with pytest.raises(FileNotFoundError, match="missing"):
        image_size(tmp_path / "missing.jpg")


@pytest.mark.parametrize("orientation", UPRIGHT)
@pytest.mark.parametrize("suffix", ["png", "tiff"])
def test_applies_exif_orientation(tmp_path, orientation, suffix):
    stored = noise((5, 7, 3))
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = saved(Image.fromarray(stored), tmp_path / f"a.{suffix}", exif=exif)
    expected = UPRIGHT[orientation](stored)
    np.testing.assert_array_equal(InputSpec(expected.shape[:2]).decode(path), expected)


def test_damaged_exif_does_not_matter(tmp_path):
    pixels = noise((8, 8, 3))
    path = saved(Image.fromarray(pixels), tmp_path / "a.png", exif=b"Exif\0\0nonsense")
    np.testing.assert_array_equal(InputSpec((8, 8)).decode(path), pixels)


def palette(pixels):
    return Image.fromarray(pixels).convert("P", palette=Image.Palette.ADAPTIVE)


def transparent_palette(pixels):
    image = palette(pixels)
    image.info["transparency"] = bytes(range(0, 256))
    return image


@pytest.mark.parametrize(
    ("make", "suffix"),
    [
        (lambda p: Image.fromarray(p), "png"),
        (lambda p: Image.fromarray(np.dstack([p, p[..., :1]]), "RGBA"), "png"),
        (palette, "gif"),
        (transparent_palette, "png"),
        (lambda p: Image.fromarray(p), "bmp"),
    ],
    ids=["rgb", "rgba", "palette", "transparent palette", "bmp"],
)
def test_color_modes(tmp_path, make, suffix):
    pixels = np.array([[[255, 0, 0], [0, 255, 0]], [[0, 0, 255], [40, 80, 120]]], "uint8")
    path = saved(make(pixels), tmp_path / f"a.{suffix}")
    np.testing.assert_array_equal(InputSpec((2, 2)).decode(path), pixels)
    gray = pixels @ np.array([0.299, 0.587, 0.114])
    decoded = InputSpec((2, 2), channels=1).decode(path)
    assert decoded.shape == (2, 2, 1)
    np.testing.assert_allclose(decoded[..., 0], gray, atol=1)


def test_grey_modes(tmp_path):
    pixels = np.array([[0, 10], [128, 255]], "uint8")
    images = {
        "l.png": Image.fromarray(pixels),
        "la.png": Image.merge("LA", [Image.fromarray(pixels)] * 2),
        "16.png": Image.fromarray(pixels.astype("uint16") * 257),
        "16.tiff": Image.fromarray(pixels.astype("uint16") * 256 + 255),
        "32.tiff": Image.fromarray(pixels.astype("int32") * 256),
    }
    for name, image in images.items():
        path = saved(image, tmp_path / name)
        gray = InputSpec((2, 2), channels=1).decode(path)
        np.testing.assert_array_equal(gray[..., 0], pixels, err_msg=name)
        color = InputSpec((2, 2)).decode(path)
        np.testing.assert_array_equal(color, np.dstack([pixels] * 3), err_msg=name)


def test_black_and_white(tmp_path):
    bits = np.array([[0, 1], [1, 0]], "uint8") * 255
    path = saved(Image.fromarray(bits).convert("1"), tmp_path / "a.png")
    np.testing.assert_array_equal(InputSpec((2, 2), channels=1).decode(path)[..., 0], bits)


@pytest.mark.parametrize(
    ("values", "message"),
    [(np.zeros((2, 2), "float32"), "floats"), (np.full((2, 2), 70000, "int32"), "16 bit")],
)
def test_refuses_values_of_unknown_range(tmp_path, values, message):
    path = saved(Image.fromarray(values), tmp_path / "a.tiff")
    with pytest.raises(ValueError, match=rf"a\.tiff.*{message}"):
        InputSpec((2, 2)).decode(path)


def test_bgr_reverses_the_channels(tmp_path):
    path = saved(Image.fromarray(noise((4, 4, 3))), tmp_path / "a.png")
    rgb = InputSpec((4, 4)).load(path)
    np.testing.assert_array_equal(InputSpec((4, 4), color="bgr").load(path), rgb[..., ::-1])
    shifted = InputSpec((4, 4), color="bgr", mean=(1, 0, 0)).load(path)
    np.testing.assert_allclose(shifted[..., 0], rgb[..., 2] - 1, atol=1e-6)


def test_large_jpeg_is_decoded_small(tmp_path, monkeypatch):
    image = Image.fromarray(smooth(480, 640))
    path = saved(image, tmp_path / "a.jpg", quality=95)
    decoded_sizes = []
    load = JpegImagePlugin.JpegImageFile.load
    monkeypatch.setattr(
        JpegImagePlugin.JpegImageFile,
        "load",
        lambda self: (decoded_sizes.append(self.size), load(self))[1],
    )
    decoded = InputSpec((48, 64)).decode(path)
    assert decoded_sizes[0] == (320, 240)
    exact = np.asarray(image.resize((64, 48), Image.Resampling.BILINEAR)).astype(int)
    assert np.abs(decoded - exact).mean() < 1.5
    assert np.abs(decoded - exact).max() < 12


def broken(kind, path):
    image = Image.fromarray(noise((32, 32, 3)))
    if kind in ("png", "jpeg"):
        image.save(path, kind)
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    else:
        path.write_bytes(b"" if kind == "empty" else b"these are words\n")
    return path


@pytest.mark.parametrize("kind", ["png", "jpeg", "empty", "text"])
def test_broken_file_is_named(tmp_path, kind):
    path = broken(kind, tmp_path / "holiday.jpg")
    with pytest.raises(ValueError, match=r"Cannot read .*holiday\.jpg"):
        InputSpec((8, 8)).load(path)


def test_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nothing\.png"):
        InputSpec((8, 8)).load(tmp_path / "nothing.png")


def test_folder_is_no_image(tmp_path):
    with pytest.raises(ValueError, match="Cannot read"):
        InputSpec((8, 8)).load(tmp_path)


def test_broken_open_file_has_no_name():
    with pytest.raises(ValueError, match="the given file"):
        InputSpec((8, 8)).load(io.BytesIO(b"words"))


@pytest.mark.parametrize(
    "spec",
    [
        InputSpec((3, 5)),
        InputSpec([3, 5], channels=1, mean=[0.5], std=[0.25]),
        InputSpec((np.int64(3), 5), color="bgr", **IMAGENET),
    ],
)
def test_json_round_trip(spec):
    config = json.loads(json.dumps(spec.to_dict()))
    again = InputSpec.from_dict(config)
    assert again == spec
    assert hash(again) == hash(spec)


def test_to_dict_is_plain():
    assert InputSpec((3, 5), channels=1).to_dict() == {
        "size": [3, 5],
        "channels": 1,
        "mean": [0.0],
        "std": [1.0],
        "color": "rgb",
    }


@pytest.mark.parametrize("config", [{}, {"channels": 3}, {"size": [2, 2], "scale": 1}])
def test_from_dict_refuses(config):
    with pytest.raises(ValueError, match="size"):
        InputSpec.from_dict(config)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"size": (0, 4)}, "size"),
        ({"size": (4,)}, "size"),
        ({"size": 4}, "size"),
        ({"size": (4.0, 4.0)}, "size"),
        ({"channels": 4}, "channels"),
        ({"color": "hsv"}, "color"),
        ({"color": "bgr", "channels": 1}, "bgr"),
        ({"mean": (0.0,)}, "mean"),
        ({"mean": 0.5}, "mean"),
        ({"std": (1.0, 1.0, float("nan"))}, "std"),
        ({"std": (1.0, 0.0, 1.0)}, "std must be positive"),
    ],
)
def test_refuses_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        InputSpec(**{"size": (4, 4), **arguments})


@given(st.integers(1, 300), st.integers(1, 300))
def test_any_size_is_kept(height, width):
    assert InputSpec((height, width)).size == (height, width)


def test_names_the_extra_to_install(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(ImportError, match="pip install pillow"):
        InputSpec((4, 4)).decode(tmp_path / "a.png")
    with pytest.raises(ImportError, match="pip install pillow"):
        image_suffixes()


def test_pillow_images_and_arrays_are_read_as_files_are(tmp_path):
    spec = InputSpec((12, 9), **IMAGENET)
    pixels = smooth(30, 20)
    path = saved(Image.fromarray(pixels), tmp_path / "p.png")
    expected = spec.load(path)
    image = Image.open(path)
    for form in (image, Image.fromarray(pixels), pixels):
        np.testing.assert_array_equal(spec.load(form), expected)
    assert image.size == (20, 30)  # left as it was
    rgba = np.concatenate([pixels, noise((30, 20, 1))], axis=-1)
    np.testing.assert_array_equal(spec.load(rgba), expected)
    gray = InputSpec((12, 9), channels=1)
    one = pixels[..., :1]
    np.testing.assert_array_equal(gray.decode(one), gray.decode(one[..., 0]))
    assert gray.decode(pixels).shape == (12, 9, 1)


def test_an_array_that_fits_is_copied_and_needs_no_pillow(monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL", None)
    pixels = noise((4, 5, 3))
    decoded = InputSpec((4, 5)).decode(pixels)
    np.testing.assert_array_equal(decoded, pixels)
    assert not np.shares_memory(decoded, pixels)
    np.testing.assert_array_equal(InputSpec((4, 5), color="bgr").decode(pixels), pixels[..., ::-1])
    with pytest.raises(ImportError, match="Pillow"):
        InputSpec((3, 5)).decode(pixels)


@pytest.mark.parametrize(
    "array", [np.zeros((4, 4, 2), "uint8"), np.zeros((4, 4)), np.zeros((2, 4, 4, 3), "uint8")]
)
def test_arrays_that_are_no_image(array):
    with pytest.raises(ValueError, match=r"An image is a uint8 array .*received"):
        InputSpec((4, 4)).decode(array)
    with pytest.raises(ValueError, match="is empty"):
        InputSpec((4, 4)).decode(np.zeros((0, 4), "uint8"))


def test_a_model_of_bytes_gets_the_bytes(tmp_path):
    spec = InputSpec((4, 6), dtype="uint8")
    image = np.random.default_rng(0).integers(0, 256, (4, 6, 3), "uint8")
    Image.fromarray(image).save(tmp_path / "a.png")
    loaded = spec.load(tmp_path / "a.png")
    assert loaded.dtype == np.uint8
    np.testing.assert_array_equal(loaded, image)
    # Its numbers are those of a float model that leaves 0 … 255, and so is what a file tells.
    as_float = InputSpec((4, 6), std=(1 / 255,) * 3)
    assert (spec.mean, spec.std) == (as_float.mean, as_float.std)
    np.testing.assert_allclose(as_float.normalize(image), image, rtol=1e-6)
    assert InputSpec.from_dict(json.loads(json.dumps(spec.to_dict()))) == spec
    assert "dtype" not in as_float.to_dict()
    assert not spec.agrees_with(as_float)
    for scale in ({"mean": (0.5,) * 3}, {"std": (1.0,) * 3}):
        with pytest.raises(ValueError, match="leave mean and std out"):
            InputSpec((4, 6), dtype="uint8", **scale)
    with pytest.raises(ValueError, match='"float32" or "uint8"; received'):
        InputSpec((4, 6), dtype="int8")


@pytest.mark.parametrize(
    ("arguments", "inside", "outside"),
    [
        ({}, (0, 1), (0, 1.02)),
        ({}, (-0.009, 1), (-0.02, 1)),
        ({"std": (1 / 255,) * 3}, (0, 255), (-3, 255)),
        ({"mean": (0.5,) * 3, "std": (0.5,) * 3}, (-1, 1), (0, 255)),
        ({"dtype": "uint8"}, (0, 255), (0, 300)),
    ],
)
def test_check_knows_the_range_of_images(arguments, inside, outside):
    spec = InputSpec((2, 1), **arguments)

    def images(ends):
        return np.broadcast_to(np.reshape(ends, (2, 1, 1)), (5, 2, 1, 3))

    spec.check(images(inside))
    with pytest.raises(ValueError, match=r"data spans .* but images become .* by InputSpec"):
        spec.check(images(outside), "data")
    with pytest.raises(ValueError, match=r"images of shape \(2, 1, 3\); received \(5, 1, 2, 3\)"):
        spec.check(np.zeros((5, 1, 2, 3)))


@pytest.mark.parametrize(
    "other",
    [
        InputSpec((4, 5), **IMAGENET),
        InputSpec((4, 4), mean=(0.485, 0.456, 0.407), std=IMAGENET["std"]),
        InputSpec((4, 4), mean=IMAGENET["mean"]),
        InputSpec((4, 4), color="bgr", **IMAGENET),
    ],
)
def test_agreement_of_two_specifications(other):
    spec = InputSpec((4, 4), **IMAGENET)
    assert spec.agrees_with(InputSpec((4, 4), mean=(0.4850001, 0.456, 0.406), std=IMAGENET["std"]))
    assert not spec.agrees_with(other)


def test_what_is_transparent_becomes_the_color_beneath(tmp_path):
    pixels = np.zeros((2, 2, 4), "uint8")
    pixels[0, 0] = (200, 100, 50, 0)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    decoded = InputSpec((2, 2)).decode(tmp_path / "a.png")
    assert decoded[0, 0].tolist() == [200, 100, 50]
    assert decoded[1:].max() == 0


def test_nan_is_out_of_every_range():
    images = np.full((2, 4, 4, 3), 0.5, "float32")
    images[0, 0, 0, 0] = np.nan
    with pytest.raises(ValueError, match="spans nan"):
        InputSpec((4, 4)).check(images)
