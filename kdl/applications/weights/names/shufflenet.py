"""Names of the layers of ShuffleNet in the authors' code and in mmpretrain."""


def megvii(units):
    """Names in the authors' code.

    Args:
        units: `(stage, index)` of each unit, from the first to the last.
    """
    names = {"stem_conv": "first_conv.0", "stem_bn": "first_conv.1", "classifier": "classifier.0"}
    parts = {
        "pointwise1": "branch_main_1.0",
        "pointwise1_bn": "branch_main_1.1",
        "depthwise": "branch_main_1.3",
        "depthwise_bn": "branch_main_1.4",
        "pointwise2": "branch_main_2.0",
        "pointwise2_bn": "branch_main_2.1",
    }
    for number, (stage, index) in enumerate(units):
        for layer, part in parts.items():
            names[f"stage{stage}_unit{index}/{layer}"] = f"features.{number}.{part}"
    return names


def mmpretrain():
    """Names in mmpretrain."""
    stem = "backbone.conv1"
    names = {"stem_conv": f"{stem}.conv", "stem_bn": f"{stem}.bn", "classifier": "head.fc"}
    parts = {
        "pointwise1": "g_conv_1x1_compress",
        "depthwise": "depthwise_conv3x3_bn",
        "pointwise2": "g_conv_1x1_expand",
    }
    for stage in (2, 3, 4):
        for layer, part in parts.items():
            path, module = f"stage{stage}_unit{{unit}}/{layer}", f"layers.{stage - 2}.{{unit}}"
            names[path] = f"backbone.{module}.{part}.conv"
            names[f"{path}_bn"] = f"backbone.{module}.{part}.bn"
    return names
