"""Names of the layers of MobileNetV2 in torchvision, timm and `keras.applications`."""


def torchvision(blocks):
    """Names in torchvision.

    Args:
        blocks: `(name, expansion)` of each block, from the first to the last.
    """
    names = {"stem_conv": "features.0.0", "stem_bn": "features.0.1", "classifier": "classifier.1"}
    names |= {"head_conv": "features.18.0", "head_bn": "features.18.1"}
    for index, (block, expansion) in enumerate(blocks, start=1):
        modules = ["0.0", "0.1", "1.0", "1.1", "2", "3"]
        if expansion == 1:
            modules = ["0.0", "0.1", "1", "2"]
        for layer, module in zip(_layers(expansion), modules, strict=True):
            names[f"{block}/{layer}"] = f"features.{index}.conv.{module}"
    return names


def timm(blocks):
    """Names in timm; `blocks` as in `torchvision`."""
    names = {"stem_conv": "conv_stem", "stem_bn": "bn1", "classifier": "classifier"}
    names |= {"head_conv": "conv_head", "head_bn": "bn2"}
    for block, expansion in blocks:
        modules = ["conv_pw", "bn1", "conv_dw", "bn2", "conv_pwl", "bn3"]
        if expansion == 1:
            modules = ["conv_dw", "bn1", "conv_pw", "bn2"]
        prefix = block.replace("stage", "blocks.").replace("_block", ".")
        for layer, module in zip(_layers(expansion), modules, strict=True):
            names[f"{block}/{layer}"] = f"{prefix}.{module}"
    return names


def keras(blocks, classifier, conv, norm):
    """Names in `keras.applications` or in its files, whose blocks follow two patterns.

    Args:
        blocks: As in `torchvision`.
        classifier: Name of the classifier.
        conv: Pattern of the convolutions, with `{i}` and `{part}`.
        norm: Pattern of the batch norms.
    """
    names = {"stem_conv": "Conv1", "stem_bn": "bn_Conv1", "classifier": classifier}
    names |= {"head_conv": "Conv_1", "head_bn": "Conv_1_bn"}
    for index, (block, expansion) in enumerate(blocks):
        for layer in _layers(expansion):
            part = layer.removesuffix("_bn")
            name = (norm if layer.endswith("_bn") else conv).format(i=index, part=part)
            names[f"{block}/{layer}"] = name.replace("block_0", "expanded_conv")
    return names


def _layers(expansion):
    """Layers with weights of a block, from first to last."""
    parts = ["depthwise", "project"] if expansion == 1 else ["expand", "depthwise", "project"]
    return [name for part in parts for name in (part, f"{part}_bn")]
