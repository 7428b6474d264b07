"""Results of several files: those that can be had, with the errors of the others beside them."""

from kdl.cli import console

_EXPECTED = (OSError, RuntimeError, ValueError)


def results_of(files, compute):
    """`(results, whether any file failed)` of a function of one file.

    What is wrong with one file is printed at once, and takes no other file along.

    Args:
        files: Paths.
        compute: Function of a path.
    """
    results = []
    for file in files:
        try:
            results.append(compute(file))
        except _EXPECTED as error:
            console.error(error)
    return results, len(results) < len(files)
