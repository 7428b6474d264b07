"""Training the members of an ensemble: where, which are there already, and how far it is."""

import contextlib
import dataclasses
from concurrent.futures import BrokenExecutor, as_completed

import keras

from kdl.ensembles import _worker
from kdl.ensembles._processes import as_executor


class Members:
    """Trains what is not there yet.

    Args:
        executor: A `concurrent.futures.Executor`, or None for this process.
        store: The ensemble's `Store`, or None to keep nothing.
        bar: Progress bar, or None.
    """

    def __init__(self, executor=None, store=None, bar=None):
        self.executor = executor
        self.store = store
        self.bar = bar
        self.done = 0
        self._tried, self._packed = [], []

    def train(self, jobs):
        """The trained models, in the order of the jobs.

        Raises:
            ValueError: If members can't go through a file; nothing is trained then.
            RuntimeError: If a member could not be trained; those that could are kept first.
        """
        found = {job.key: self._kept(job) for job in jobs}
        missing = [job for job in jobs if found[job.key] is None]
        self._try_out(missing)
        if self.store is not None and not self.store.begun:
            self.store.begin()
        for job, content in self._contents(_worker.train, missing):
            if self.store is not None:
                self.store.put(job.key, content)
            found[job.key] = content
            self._advance()
        # Not before: reading makes layers, and threads that train share their random numbers.
        return [_read(found[job.key]) for job in jobs]

    def _kept(self, job):
        content = None if self.store is None else self.store.get_whole(job.key)
        if content is not None:
            self._advance()
        return content

    def _try_out(self, jobs):
        """Writes and reads a member of each `build`, lest that fails after hours of training."""
        trials = []
        for job in jobs:
            if not any(job.recipe.build is build for build in self._tried):
                self._tried.append(job.recipe.build)
                one = {"x": job.x[:1], "y": job.y[:1], "samples": None, "weights": None}
                trials.append(dataclasses.replace(job, **one))
        for job, content in list(self._contents(_worker.try_out, trials)):
            try:
                _read(content)
            except OSError:
                raise
            except Exception as error:  # of zip files, HDF5 and Keras
                raise _worker.file_error(f"What is built for {job.name}", error) from error

    def _contents(self, work, jobs):
        """Pairs of a job and the file that the work on it made, as they come."""
        if self.executor is None:
            return ((job, work(job)) for job in jobs)
        return self._from_executor(work, jobs)

    def _from_executor(self, work, jobs):
        packed = [dataclasses.replace(job, recipe=self._pack(job.recipe)) for job in jobs]
        futures = {self.executor.submit(work, job): job for job in packed}
        unfinished, first = {job.name: None for job in jobs}, None
        try:
            for future in as_completed(futures):
                job = futures[future]
                if future.cancelled():
                    continue
                error = future.exception()
                if error is None:
                    del unfinished[job.name]
                    yield job, future.result()
                elif first is None:
                    first = error
                    _cancel(futures)
        finally:
            _cancel(futures)
        if first is not None:
            raise self._explained(first, list(unfinished)) from first

    def _pack(self, recipe):
        for known, packed in self._packed:
            if known is recipe:
                return packed
        self._packed.append((recipe, recipe.packed()))
        return self._packed[-1][1]

    def _explained(self, error, unfinished):
        if isinstance(error, _worker.MemberError | _worker.FileError):
            return type(error)(str(error))
        happened = f"{type(error).__name__}: {error}"
        if isinstance(error, BrokenExecutor):
            happened = (
                "a process that trained was ended (by the system for want of memory, for "
                "instance), or could not start (a script that starts processes needs "
                "`if __name__ == '__main__':`)"
            )
        kept = (
            "The others are kept: call fit again with the same arguments and directory."
            if self.store is not None
            else "Pass directory=… to fit, so that the others are kept next time."
        )
        return RuntimeError(f"Not trained: {', '.join(unfinished)}; {happened}. {kept}")

    def _advance(self):
        self.done += 1
        if self.bar is not None:
            self.bar.update(self.done)

    def close(self):
        """Ends the line of a bar that did not come to its end."""
        if self.bar is not None and 0 < self.done < self.bar.target:
            self.bar.update(self.done, finalize=True)


@contextlib.contextmanager
def opened(executor, store, count, verbose):
    """`Members` for `count` members, whose processes end with the context."""
    bar = keras.utils.Progbar(count, unit_name="member") if verbose == 1 else None
    with as_executor(executor, keras.backend.backend()) as chosen:
        members = Members(chosen, store, bar)
        try:
            yield members
        finally:
            members.close()


def _read(content):
    with _worker.generators_kept():
        return _worker.read_model(content)


def _cancel(futures):
    for future in futures:
        future.cancel()
