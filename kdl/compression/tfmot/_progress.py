"""Progress of training in another process, shown as Keras shows its own."""

import keras


class Progress:
    """Shows what a worker tells, and keeps the history.

    Args:
        verbose: 0, 1, 2 or `"auto"`, as in `fit`.
    """

    def __init__(self, verbose):
        self.verbose = 1 if verbose == "auto" else verbose
        self.history = {}
        self.bar = None
        self.steps = self.epochs = 0

    def see(self, event):
        """Takes one event of the worker."""
        getattr(self, f"_{event['event']}")(event)

    def _begin(self, event):
        self.steps, self.epochs = event["steps"], event["epochs"]
        self._start(1)

    def _start(self, epoch):
        if self.verbose and epoch <= self.epochs:
            print(f"Epoch {epoch}/{self.epochs}")
            self.bar = keras.utils.Progbar(self.steps, verbose=self.verbose)

    def _batch(self, event):
        if self.verbose == 1:
            self.bar.update(event["step"], _values(event), finalize=False)

    def _epoch(self, event):
        if self.verbose:
            self.bar.update(self.steps, _values(event), finalize=True)
        self._start(event["epoch"] + 1)

    def _history(self, event):
        self.history = event["history"]


def _values(event):
    return list(event["logs"].items())
