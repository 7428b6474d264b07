"""Lists of arrays in one file: `kind/0`, `kind/1`, …, or `kind/name/0`, …."""


def named(kind, arrays):
    """Dict with an entry for each of a list's arrays."""
    return {f"{kind}/{number}": array for number, array in enumerate(arrays)}


def numbered(found, kind):
    """The list that `named` wrote down; empty if there is none."""
    count = sum(key.rpartition("/")[0] == kind for key in found)
    return [found[f"{kind}/{number}"] for number in range(count)]


def grouped(found, kind):
    """Dict: name → list, of all `kind/name`."""
    names = dict.fromkeys(key.split("/")[1] for key in found if key.startswith(f"{kind}/"))
    return {name: numbered(found, f"{kind}/{name}") for name in names}
