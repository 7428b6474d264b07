"""Names of a file's inputs and outputs: legal for the converter, and no two alike."""

import re
import unicodedata

# Of several outputs, the one that holds the classes goes by one of these names.
SCORES = ("probabilities", "logits")

# Words in the name of an output → its kind.
_KINDS_BY_WORDS = {
    "box": "boxes",
    "score|prob|logit|class": "scores",
    "embed|feature|state": "features",
}

_ILLEGAL = re.compile(r"[^A-Za-z0-9_./-]")


def legal_name(name, empty="output"):
    """`name` in the characters that every reader of a signature takes.

    Accents are left out, and other characters become `_`.

    Args:
        name: Any name.
        empty: What stands for a name without such characters.
    """
    plain = unicodedata.normalize("NFKD", str(name)).encode("ascii", "ignore").decode()
    return _ILLEGAL.sub("_", plain.strip()) or empty


def kind_by_name(name):
    """The kind of an output that its name tells, `"boxes"`, `"scores"` or `"features"`; or None.

    Of several words the last one tells: `box_class` is the class of a box.

    Args:
        name: Any name.
    """
    found = [
        (match.start(), kind)
        for words, kind in _KINDS_BY_WORDS.items()
        for match in re.finditer(words, name.lower())
    ]
    return max(found, default=(0, None))[1]


def scope_name(name):
    """`name` as TensorFlow takes it for what is computed within: a letter, digit or dot first.

    Args:
        name: Any name.
    """
    return re.sub(r"^[^A-Za-z0-9.]+", "", legal_name(name)) or "layer"


def input_name(name):
    """`name` as TensorFlow takes it for an input: in legal characters, a letter or digit first.

    Args:
        name: Any name.
    """
    return re.sub(r"^[^A-Za-z0-9]+|/+$|/(?=/)", "", legal_name(name, "")) or "input"
