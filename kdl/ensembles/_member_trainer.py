"""Training the members of an ensemble on an executor, but for those that the directory has."""

import contextlib
import dataclasses
from concurrent.futures import BrokenExecutor, as_completed

import keras

from kdl.ensembles import _member_training
from kdl.ensembles._keras_state import generators_restored
from kdl.ensembles._model_files import SerializationError, read_model, serialization_error
from kdl.ensembles._processes import as_executor


class MemberTrainer:
    """Trains the members that are not there yet.

    Args:
        executor: A `concurrent.futures.Executor`, or None for this process.
        store: The ensemble's `Store`, or None to write nothing.
        bar: Progress bar, or None.
    """

    def __init__(self, executor=None, store=None, bar=None):
        self.executor = executor
        self.store = store
        self.bar = bar
        self.done = 0
        self._tried_builds, self._packed = [], []

    def train(self, jobs):
        """The trained models, in the order of the jobs.

        Raises:
            ValueError: If members can't go through a file; nothing is trained then.
            RuntimeError: If a member could not be trained; those that could are written first.
        """
        contents = {job.key: self._stored(job) for job in jobs}
        missing = [job for job in jobs if contents[job.key] is None]
        self._dry_run(missing)
        if self.store is not None and not self.store.begun:
            self.store.begin()
        for job, content in self._contents(_member_training.train, missing):
            if self.store is not None:
                self.store.put(job.key, content)
            contents[job.key] = content
            self._advance()
        # Not before: reading makes layers, and threads that train share their random numbers.
        return [_read(contents[job.key]) for job in jobs]

    def close(self):
        """End the line of a bar that did not come to its end."""
        if self.bar is not None and 0 < self.done < self.bar.target:
            self.bar.update(self.done, finalize=True)

    def _stored(self, job):
        content = None if self.store is None else self.store.get_whole(job.key)
        if content is not None:
            self._advance()
        return content

    def _dry_run(self, jobs):
        """Write and read a member of each `build`, lest that fails after hours of training."""
        trials = []
        for job in jobs:
            if not any(job.recipe.build is build for build in self._tried_builds):
                self._tried_builds.append(job.recipe.build)
                one = {"x": job.x[:1], "y": job.y[:1], "samples": None, "weights": None}
                trials.append(dataclasses.replace(job, **one))
        for job, content in list(self._contents(_member_training.dry_run, trials)):
            try:
                _read(content)
            except OSError:
                raise
            except Exception as error:  # of zip files, HDF5 and Keras
                raise serialization_error(f"The model built for {job.name}", error) from error

    def _contents(self, work, jobs):
        """Pairs of a job and the file that the work on it made, as they come."""
        if self.executor is None:
            return ((job, work(job)) for job in jobs)
        return self._from_executor(work, jobs)

    def _from_executor(self, work, jobs):
        packed = [dataclasses.replace(job, recipe=self._pack(job.recipe)) for job in jobs]
        futures = {self.executor.submit(work, job): job for job in packed}
        unfinished, first_error = {job.name: None for job in jobs}, None
        try:
            for future in as_completed(futures):
                job = futures[future]
                if future.cancelled():
                    continue
                error = future.exception()
                if error is None:
                    del unfinished[job.name]
                    yield job, future.result()
                elif first_error is None:
                    first_error = error
                    _cancel(futures)
        finally:
            _cancel(futures)
        if first_error is not None:
            raise self._explained(first_error, list(unfinished)) from first_error

    def _pack(self, recipe):
        for packed_recipe, content in self._packed:
            if packed_recipe is recipe:
                return content
        self._packed.append((recipe, recipe.packed()))
        return self._packed[-1][1]

    def _explained(self, error, unfinished):
        if isinstance(error, _member_training.MemberError | SerializationError):
            return type(error)(str(error))
        cause = f"{type(error).__name__}: {error}"
        if isinstance(error, BrokenExecutor):
            cause = (
                "a process that trained was ended (by the system for want of memory, for "
                "instance), or could not start (a script that starts processes needs "
                "`if __name__ == '__main__':`)"
            )
        advice = (
            "The others are kept: call fit again with the same arguments and directory."
            if self.store is not None
            else "Pass directory=… to fit, so that the others are kept next time."
        )
        return RuntimeError(f"Not trained: {', '.join(unfinished)}; {cause}. {advice}")

    def _advance(self):
        self.done += 1
        if self.bar is not None:
            self.bar.update(self.done)


@contextlib.contextmanager
def member_trainer(executor, store, count, verbose):
    """`MemberTrainer` for `count` members, whose processes end with the context."""
    bar = keras.utils.Progbar(count, unit_name="member") if verbose == 1 else None
    with as_executor(executor, keras.backend.backend()) as chosen:
        trainer = MemberTrainer(chosen, store, bar)
        try:
            yield trainer
        finally:
            trainer.close()


def _read(content):
    with generators_restored():
        return read_model(content)


def _cancel(futures):
    for future in futures:
        future.cancel()
