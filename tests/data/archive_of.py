"""Zip archives for tests of the readers."""

import zipfile


def archive_of(folder, path):
    """Packs a folder; its entries are named from it on."""
    with zipfile.ZipFile(path, "w") as archive:
        for file in folder.rglob("*"):
            archive.write(file, file.relative_to(folder).as_posix())
    return path
