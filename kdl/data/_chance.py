"""Checks of what is drawn by chance."""


def check_probability(value):
    """The value as a float; ValueError if it is no share from 0 to 1."""
    if not 0 <= value <= 1:
        raise ValueError(f"probability must be a share from 0 to 1; received {value!r}.")
    return float(value)


def check_range(name, value, least, most=float("inf")):
    """Two numbers in order, as floats; ValueError if they are none or out of range."""
    low, high = value
    if not least <= low <= high <= most:
        limits = f"from {least} on" if most == float("inf") else f"from {least} to {most}"
        raise ValueError(
            f"{name} must be a smaller and a larger number {limits}; received {value}."
        )
    return float(low), float(high)
