import io
import struct
import zipfile

import pytest
from mutation import assert_survives, mutations
from PIL import Image

from kdl.data import InputSpec
from kdl.data._image_files import ImageFiles
from kdl.data.archives import open_archive, opened, read_entry

SPEC = InputSpec((4, 4))


def image(color=0, kind="PNG"):
    stream = io.BytesIO()
    Image.new("RGB", (8, 8), (color, 7, 9)).save(stream, kind)
    return stream.getvalue()


def archive_of(path, *more, **options):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, **options) as archive:
        for name in ("a/1.png", "a/2.png", "b/1.png"):
            archive.writestr(name, image())
        for name, content in more:
            archive.writestr(name, content)
    return path


def read_all(path):
    files = ImageFiles(path)
    for names in files.class_files(None).values():
        for name in names:
            files.decode(name, SPEC)


def test_a_sound_archive_is_read(tmp_path):
    path = archive_of(tmp_path / "data.zip")
    read_all(path)
    with opened(path) as archive:
        assert read_entry(archive, "a/1.png", path) == image()
        with pytest.raises(KeyError):
            read_entry(archive, "missing", path)
    with opened(tmp_path / __file__) as archive:
        assert archive is None


def test_an_entry_that_unpacks_to_far_more_is_refused_and_the_others_are_read(tmp_path):
    path = archive_of(tmp_path / "data.zip", ("b/2.png", bytes(80 << 20)))
    content = path.read_bytes()
    assert len(content) < 1 << 20
    files = ImageFiles(path)
    assert files.decode("b/1.png", SPEC).shape == (4, 4, 3)
    with pytest.raises(ValueError, match=r"b/2\.png from .*data\.zip.*no honest file"):
        files.decode("b/2.png", SPEC)
    assert assert_survives(read_all, path, [content], memory=8 << 20) == 1


def test_an_entry_that_hides_its_size_is_read_up_to_it(tmp_path):
    path = archive_of(tmp_path / "data.zip", ("b/2.png", bytes(80 << 20)))
    content = path.read_bytes().replace(struct.pack("<L", 80 << 20), struct.pack("<L", 99))
    assert assert_survives(read_all, path, [content], memory=8 << 20) == 1


def test_entries_that_share_their_bytes_are_refused(tmp_path):
    path = archive_of(tmp_path / "data.zip", ("b/2.png", bytes(60 << 20)))
    with zipfile.ZipFile(path, "a") as archive:
        [entry] = [e for e in archive.infolist() if e.filename == "b/2.png"]
        archive.filelist += [entry] * 9
        archive._didModify = True
    with pytest.raises(ValueError, match=r"data\.zip unpacks to [\d,]+ bytes"):
        open_archive(path)


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_other_packings_are_refused(method, tmp_path):
    path = tmp_path / "data.zip"
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr("a", bytes(99))
    with (
        open_archive(path) as archive,
        pytest.raises(ValueError, match=r"a from .*data\.zip.*Defl"),
    ):
        read_entry(archive, "a", path)


def test_names_of_many_folders_take_no_memory(tmp_path):
    deep = [(f"a/b/c/{n}/" + "x/" * 9000 + "1.png", b"") for n in range(40)]
    path = archive_of(tmp_path / "data.zip", *deep)
    assert not assert_survives(ImageFiles, path, [path.read_bytes()], memory=16 << 20)


def test_random_damage_is_survived(tmp_path):
    path = archive_of(tmp_path / "data.zip")
    assert assert_survives(read_all, path, mutations(path.read_bytes(), 300)) > 50


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP"])
def test_random_damage_of_images_is_survived(kind, tmp_path):
    path, content = tmp_path / "image", image(kind=kind)
    # Pillow asks the system for as many bytes as a part of a PNG says it has, and uses what comes.
    assert_survives(SPEC.load, path, mutations(content, 150), memory=2**32)
    path.write_bytes(content)
    assert SPEC.load(path).shape == (4, 4, 3)


def test_images_of_too_many_pixels_are_refused_at_once(tmp_path):
    content = bytearray(image(kind="BMP"))
    content[18:26] = struct.pack("<ll", 60_000, 60_000)
    path = tmp_path / "large.bmp"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"Cannot read the image .*large\.bmp.*bomb"):
        SPEC.load(path)
    assert assert_survives(SPEC.load, path, [bytes(content)], memory=1 << 20) == 1


def test_images_that_are_programs_are_not_run(tmp_path):
    path = tmp_path / "drawing.eps"
    path.write_bytes(image(kind="EPS"))
    with pytest.raises(ValueError, match=r"drawing\.eps: EPS is a program"):
        SPEC.load(path)
