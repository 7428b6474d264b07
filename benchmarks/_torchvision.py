"""torchvision, which some benchmarks compare with."""

import importlib
import importlib.util
import pathlib
import re

_LIBRARIES = []


def import_torchvision():
    """torchvision, also where its compiled operations do not fit this build of PyTorch.

    Its import registers shapes for them, which fails where they are missing: they are declared
    here, all at once. Nothing that is measured uses them.
    """
    import torch

    folder = pathlib.Path(importlib.util.find_spec("torchvision").origin).parent
    registrations = (folder / "_meta_registrations.py").read_text()
    names = re.findall(r'(?:torchvision::|register_meta\(")(\w+)', registrations)
    try:
        return importlib.import_module("torchvision")
    except RuntimeError:
        library = torch.library.Library("torchvision", "FRAGMENT")
        _LIBRARIES.append(library)  # what it declares ends with it
        for name in sorted(set(names)):
            library.define(f"{name}(Tensor x) -> Tensor")
        return importlib.import_module("torchvision")
