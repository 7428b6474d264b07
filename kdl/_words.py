"""Words that depend on a number, and numbered names."""

from collections import Counter


def counted(number, noun, plural=None):
    """`number` and the noun in its singular or plural.

    Args:
        number: The number.
        noun: Its singular.
        plural: Its plural; by default with an s.

    Example:
        >>> counted(1, "epoch"), counted(2, "epoch"), counted(3, "batch", "batches")
        ('1 epoch', '2 epochs', '3 batches')
    """
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def some_of(names, most=5):
    """The first of some names, quoted, and how many there are if those are not all.

    Args:
        names: Texts.
        most: How many to name. Defaults to 5.

    Example:
        >>> some_of(["ant", "bee", "cat"], most=2)
        "'ant', 'bee', … (3)"
    """
    more = f", … ({len(names)})" if len(names) > most else ""
    return f"{', '.join(map(repr, names[:most]))}{more}"


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
