"""Names of the layers of MobileNetV3 in torchvision, alone and as the body of SSDLite."""


def torchvision(blocks):
    """Names in torchvision.

    Args:
        blocks: `(name, kind, whether it has a gate)` of each block, from the first to the last. The
            kind is `"plain"` without an expansion, `"expanded"` with one, or `"split"` if its
            expansion stands before it.
    """
    places = {name: f"features.{index}.block" for index, (name, *_) in enumerate(blocks, start=1)}
    names = {"classifier_hidden": "classifier.0", "classifier": "classifier.3"}
    names |= _ends("features.0", f"features.{len(blocks) + 1}")
    for block in blocks:
        names |= _of_block(block, places[block[0]])
    return names


def ssd(blocks):
    """Names in torchvision's SSDLite, which cuts the network in two; `blocks` as above.

    The first part ends with the expansion of the block that is split. The rest of that block keeps
    the places that it had.
    """
    cut = next(number for number, (_, kind, _) in enumerate(blocks) if kind == "split")
    first, second = "backbone.features.0", "backbone.features.1"
    names = _ends(f"{first}.0", f"{second}.{len(blocks) - cut}")
    for index, block in enumerate(blocks):
        if index == cut:
            names |= _of_block(block, f"{second}.0", expansion=f"{first}.{cut + 1}")
        elif index < cut:
            names |= _of_block(block, f"{first}.{index + 1}.block")
        else:
            names |= _of_block(block, f"{second}.{index - cut}.block")
    return names


def _of_block(block, place, expansion=None):
    name, kind, has_gate = block
    parts = [f"{name}/depthwise", f"{name}/project"]
    if kind != "plain":
        parts.insert(0, f"{name}_expand" if kind == "split" else f"{name}/expand")
    modules = [f"{place}.{number}" for number in range(len(parts) + has_gate)]
    names = {}
    if has_gate:
        gate = modules.pop(-2)
        names |= {f"{name}/squeeze/reduce": f"{gate}.fc1", f"{name}/squeeze/expand": f"{gate}.fc2"}
    if expansion:
        modules[0] = expansion
    for part, module in zip(parts, modules, strict=True):
        conv = f"{part}_conv" if part.endswith("_expand") else part
        names |= {conv: f"{module}.0", f"{part}_bn": f"{module}.1"}
    return names


def _ends(stem, head):
    """Names of the first and the last convolution and of their norms."""
    places = {"stem": stem, "head": head}
    return {
        f"{layer}_{kind}": f"{place}.{number}"
        for layer, place in places.items()
        for number, kind in enumerate(("conv", "bn"))
    }
