"""Names of a file's inputs and outputs: legal for the converter, and no two alike."""

import re
import unicodedata
from collections import Counter

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


def unique_names(names, fold=str):
    """`names`, with those that occur more than once numbered: `d, d` becomes `d_0, d_1`.

    A number that would give a name which is there already is passed over.

    Args:
        names: Texts.
        fold: Function of a name; those for which it gives the same count as one.
    """
    names = list(names)
    counts, taken, result = Counter(map(fold, names)), set(map(fold, names)), []
    following = Counter()
    for name in names:
        key = fold(name)
        if counts[key] == 1:
            result.append(name)
            continue
        while fold(numbered := f"{name}_{following[key]}") in taken:
            following[key] += 1
        taken.add(fold(numbered))
        result.append(numbered)
    return result
