"""Training in another process, shown as Keras shows its own."""

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
        self.epoch = 1

    def see(self, event):
        """Takes one event of the worker."""
        getattr(self, f"_{event['event']}")(event)

    def _begin(self, event):
        self.steps, self.epochs = event["steps"], event["epochs"]

    def _batch(self, event):
        if self.verbose == 1:
            self._shown().update(event["step"], list(event["logs"].items()), finalize=False)

    def _epoch(self, event):
        if self.verbose:
            self._shown().update(self.steps, list(event["logs"].items()), finalize=True)
        self.bar, self.epoch = None, event["epoch"] + 1

    def _history(self, event):
        self.history = event["history"]

    def _shown(self):
        if self.bar is None:
            print(f"Epoch {self.epoch}/{self.epochs}")
            self.bar = keras.utils.Progbar(self.steps, verbose=self.verbose, stateful_metrics=())
        return self.bar
