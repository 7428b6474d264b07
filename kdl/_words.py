"""Words of messages that depend on a number."""


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
