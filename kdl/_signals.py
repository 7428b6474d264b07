"""Signals that end a process, turned into an exception so that it cleans up before it ends."""

import contextlib
import signal
import sys
import threading

_ENDING = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]


@contextlib.contextmanager
def exit_on_signals():
    """Within it SIGTERM and SIGHUP raise SystemExit, as Ctrl-C raises KeyboardInterrupt.

    Python ends at once by these, and what is to be removed in the end stays. A signal that the
    program handles or ignores itself is left to it. Handlers belong to the main thread: in another
    one this does nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    replaced = [number for number in _ENDING if signal.getsignal(number) is signal.SIG_DFL]
    for number in replaced:
        signal.signal(number, _exit)
    try:
        yield
    finally:
        for number in replaced:
            signal.signal(number, signal.SIG_DFL)


def _exit(number, frame):
    sys.exit(128 + number)
