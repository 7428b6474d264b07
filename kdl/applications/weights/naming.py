"""Templates of the names that other projects give to the layers of a network."""

import re


def resolve(templates: dict[str, str], path: str) -> str | None:
    """The reference's name for the layer at `path`, or None.

    Args:
        templates: Dict of layer paths → names. `{word}` stands for a number in both. A template
            without placeholders comes before one with.
        path: Path of a layer, such as `"stage1_block0/conv1"`.

    Example:
        >>> templates = {
        ...     "stem_conv": "conv1",
        ...     "stage{s}_block{b}/conv{i}": "layer{s}.{b}.conv{i}",
        ... }
        >>> resolve(templates, "stage3_block12/conv2"), resolve(templates, "head")
        ('layer3.12.conv2', None)
    """
    if path in templates:
        return templates[path]
    for template, name in templates.items():
        if "{" not in template:
            continue
        match = re.fullmatch(_pattern(template), path)
        if match:
            return name.format(**match.groupdict())
    return None


def _pattern(template):
    parts = re.split(r"\{(\w+)\}", template)
    parts[0::2] = map(re.escape, parts[0::2])
    parts[1::2] = [f"(?P<{word}>[0-9]+)" for word in parts[1::2]]
    return "".join(parts)
