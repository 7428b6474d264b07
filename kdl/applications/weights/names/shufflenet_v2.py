"""Names of the layers of ShuffleNet V2 in torchvision and in the authors' code."""

# Sub-layer of a unit → its position in the reference's branch, the same in both variants.
_POSITIONS = {
    "projection_depthwise": 0,
    "projection_depthwise_bn": 1,
    "projection_pointwise": 2,
    "projection_pointwise_bn": 3,
    "pointwise1": 0,
    "pointwise1_bn": 1,
    "depthwise": 3,
    "depthwise_bn": 4,
    "pointwise2": 5,
    "pointwise2_bn": 6,
}


def torchvision():
    """Names in torchvision."""
    return _names("conv1", "conv5", "fc", "branch1", "branch2", None)


def megvii(units):
    """Names in the authors' code.

    Args:
        units: `(stage, index)` of each unit, from the first to the last.
    """
    parts = ("first_conv", "conv_last", "classifier.0", "branch_proj", "branch_main")
    return _names(*parts, units)


def _names(stem, head, classifier, projection, main, flat):
    """Templates; `flat` lists the units if the reference counts them from the first to the last."""
    names = {"stem_conv": f"{stem}.0", "stem_bn": f"{stem}.1", "classifier": classifier}
    names |= {"head_conv": f"{head}.0", "head_bn": f"{head}.1"}
    units = {"stage{stage}_unit{unit}": "stage{stage}.{unit}"}
    if flat:
        units = {f"stage{s}_unit{u}": f"features.{i}" for i, (s, u) in enumerate(flat)}
    for unit, module in units.items():
        for layer, position in _POSITIONS.items():
            branch = projection if layer.startswith("projection") else main
            names[f"{unit}/{layer}"] = f"{module}.{branch}.{position}"
    return names
