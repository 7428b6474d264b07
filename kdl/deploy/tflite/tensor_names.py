"""Names of a file's inputs and outputs: legal for the converter, and no two alike."""

import re
import unicodedata

# Of several outputs, the one that holds the classes goes by one of these names.
SCORES = ("probabilities", "logits")

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


def input_name(name):
    """`name` as TensorFlow takes it for an input: in legal characters, a letter or digit first.

    Args:
        name: Any name.
    """
    return re.sub(r"^[^A-Za-z0-9]+|/+$|/(?=/)", "", legal_name(name, "")) or "input"
