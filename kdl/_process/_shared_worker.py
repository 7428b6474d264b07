"""A worker that is kept while a context lasts."""

import contextlib
import os
import threading


class SharedWorker:
    """A worker that is kept while a context lasts; outside of it each job has one of its own.

    Args:
        make: Function that makes a `Worker`; its argument says whether it is kept.
    """

    def __init__(self, make):
        self.worker = None
        self._make = make
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def keep(self):
        """Within it all jobs have the same worker, which ends with the last context in use."""
        with self._lock:
            if self.worker is None or self.worker.owner != os.getpid():
                self.worker = self._make(True)
            worker = self.worker
            worker.users += 1
        try:
            yield worker
        finally:
            with self._lock:
                worker.users -= 1
                unused = not worker.users
                if unused and self.worker is worker:
                    self.worker = None
            if unused:
                worker.end()

    @contextlib.contextmanager
    def get(self):
        """The worker for a job: the one that is kept, or a new one that ends with the context."""
        shared = self.worker is not None and self.worker.owner == os.getpid()
        with self.keep() if shared else self._make(False) as worker:
            yield worker
