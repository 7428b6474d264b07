"""Exit of a child process in words."""

import os
import re
import signal

_MAX_LENGTH = 600  # letters of a message
_ERROR_LINE = re.compile(r"([\w.]*(Error|Exception|Interrupt|Exit)\b|error\b|Fatal\b)", re.I)
# What Python's `faulthandler` prints of the innermost call.
_FRAME = re.compile(
    r'Current thread [^\n]*most recent call first\):\n\s+File "([^"]+)", line \d+ in (\S+)'
)


def explain_death(what, code, messages):
    """Describe how a process ended, in a sentence.

    Args:
        what: What it is called, such as `"The export process"`.
        code: Its exit status, negative for a signal.
        messages: What it printed as errors.

    Example:
        >>> explain_death("The process", 1, "ValueError: no such class")
        'The process stopped with exit status 1: ValueError: no such class'
    """
    if code >= 0:
        return f"{what} stopped with exit status {code}: {last_error_line(messages)}"
    text = f"{what} was ended by {signal_name(-code)}"
    place = _place_of_death(messages)
    if place:
        text += f" in {place}"
    memory = -code == getattr(signal, "SIGKILL", 9) or "bad_alloc" in messages
    return f"{text}. It ran out of memory, perhaps." if memory else f"{text}."


def last_error_line(messages):
    """The last error line; the last line where none is an error."""
    lines = [line.strip() for line in messages.splitlines() if line.strip()]
    errors = [line for line in lines if _ERROR_LINE.match(line)]
    return (errors or lines or ["no error output"])[-1][:_MAX_LENGTH]


def signal_name(number):
    """Name of a signal, such as `"SIGSEGV"`."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _place_of_death(messages):
    """`function of file.py` that was running, if it was Python's."""
    frames = _FRAME.findall(messages)
    if not frames:
        return None
    file, function = frames[-1]
    return f"`{function}` of {os.path.basename(file)}"
