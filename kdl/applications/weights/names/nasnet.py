"""Names of the layers of NASNet-A in timm and in `keras.applications`."""


def timm(blocks):
    """Names in timm, and in Cadene's collection.

    Args:
        blocks: Normal cells in a stage.
    """
    names = {"stem_conv": "conv0.conv", "stem_bn": "conv0.bn", "classifier": "last_linear"}
    # Each stage counts from a multiple of six, in the mobile network too.
    places = {f"cell{i}": f"cell_{i // blocks * 6 + i % blocks}" for i in range(3 * blocks)}
    places |= {"stem_cell{c}": "cell_stem_{c}", "reduction_cell{c}": "reduction_cell_{c}"}
    layers = {
        "squeeze_conv": "conv_1x1.conv",
        "squeeze_bn": "conv_1x1.bn",
        "adjust_conv": "conv_prev_1x1.conv",
        "adjust_bn": "conv_prev_1x1.bn",
        "adjust/path{n}_conv": "path_{n}.conv",
        "adjust/bn": "final_path_bn",
    }
    for side in ("left", "right"):
        row = f"comb_iter_{{r}}_{side}"
        layers[f"{side}{{r}}_depthwise{{n}}"] = row + ".separable_{n}.depthwise_conv2d"
        layers[f"{side}{{r}}_pointwise{{n}}"] = row + ".separable_{n}.pointwise_conv2d"
        layers[f"{side}{{r}}_bn{{n}}"] = row + ".bn_sep_{n}"
    for place, module in places.items():
        names |= {f"{place}/{layer}": f"{module}.{name}" for layer, name in layers.items()}
    return names


def keras(blocks):
    """Names in `keras.applications`; `blocks` as in `timm`."""
    names = {"stem_conv": "stem_conv1", "stem_bn": "stem_bn1", "classifier": "predictions"}
    # Keras counts the reduction cells along, and the normal cells after them one further.
    places = {f"cell{i}": ("normal", i + (i >= blocks)) for i in range(3 * blocks)}
    places |= {f"stem_cell{i}": ("reduction", f"stem_{i + 1}") for i in range(2)}
    places |= {f"reduction_cell{i}": ("reduction", f"reduce_{(i + 1) * blocks}") for i in range(2)}
    for place, (kind, block) in places.items():
        layers = {
            "squeeze_conv": f"{kind}_conv_1_{block}",
            "squeeze_bn": f"{kind}_bn_1_{block}",
            "adjust_conv": f"adjust_conv_projection_{block}",
            "adjust_bn": f"adjust_bn_{block}",
            "adjust/path{n}_conv": f"adjust_conv_{{n}}_{block}",
            "adjust/bn": f"adjust_bn_{block}",
        }
        for side in ("left", "right"):
            for row in range(5):
                # Keras calls the fifth left branch of a reduction cell the fourth.
                number = 4 if (kind, side, row) == ("reduction", "left", 4) else row + 1
                end = f"{kind}_{side}{number}_{block}"
                separable = f"separable_conv_{{n}}_{end}"
                layers[f"{side}{row}_depthwise{{n}}"] = f"{separable}:depthwise_kernel"
                layers[f"{side}{row}_pointwise{{n}}"] = f"{separable}:pointwise_kernel"
                layers[f"{side}{row}_bn{{n}}"] = f"separable_conv_{{n}}_bn_{end}"
        names |= {f"{place}/{layer}": name for layer, name in layers.items()}
    return names
