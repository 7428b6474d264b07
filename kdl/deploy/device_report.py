"""What a device will make of a `.tflite` file, operation by operation."""

import dataclasses
import json
import os
from collections import Counter

from kdl.deploy._report_page import page
from kdl.deploy._rule import REFUSED, RUNS, VERDICTS
from kdl.deploy.atomic import write_whole
from kdl.deploy.device_run import DeviceRun

_AGREEMENT = {
    True: "The rules and the real run agree.",
    False: "The rules and the real run disagree.",
    None: "There is no real run to compare the rules with.",
}


@dataclasses.dataclass(frozen=True)
class OperationVerdict:
    """What a device will make of one operation.

    Attributes:
        index: Its number in the order of execution.
        operation: Its kind, such as `CONV_2D`.
        name: Name of its first output.
        inputs: Types and shapes of its inputs, in words.
        outputs: The same for its outputs.
        reads: Numbers of the operations whose outputs it reads.
        macs: Multiply-adds.
        verdict: `"runs"`, `"may fall back"`, `"unknown"` or `"refused"`.
        cause: Why, unless it runs.
        rewrite: What mends it, where something does.
        source: Where the verdict is known from.
    """

    index: int
    operation: str
    name: str
    inputs: list
    outputs: list
    reads: list
    macs: int
    verdict: str
    cause: str
    rewrite: str
    source: str

    def __str__(self):
        rewrite = f" Rewrite: {self.rewrite}." if self.rewrite else ""
        return (
            f"#{self.index} {self.operation} ({self.name}): {self.verdict}: {self.cause}.{rewrite}"
        )


@dataclasses.dataclass(frozen=True)
class DeviceReport:
    """What a device will make of a `.tflite` file; never a promise.

    Attributes:
        path: The file.
        target: `"gpu"`, `"edgetpu"` or `"cpu"`.
        device: The device in words.
        operations: List of `OperationVerdict`.
        run: `DeviceRun` on the real accelerator; None if it was not asked for.
    """

    path: str
    target: str
    device: str
    operations: list
    run: DeviceRun | None = None

    @property
    def verdict(self):
        """The worst of all; `"refused"` too if the real accelerator did not run the file."""
        found = [operation.verdict for operation in self.operations]
        found += [self.run.verdict] if self.run else []
        return max(found, key=VERDICTS.index, default=RUNS)

    @property
    def counts(self):
        """Dict: verdict → number of operations."""
        counted = Counter(operation.verdict for operation in self.operations)
        return {verdict: counted[verdict] for verdict in VERDICTS}

    @property
    def macs(self):
        """Multiply-adds of one run."""
        return sum(operation.macs for operation in self.operations)

    @property
    def macs_share(self):
        """Share of the multiply-adds in operations that run on the device for certain."""
        return self._share((RUNS,))

    @property
    def macs_share_at_best(self):
        """The same if all runs that is not refused."""
        return self._share([verdict for verdict in VERDICTS if verdict != REFUSED])

    @property
    def agrees(self):
        """Whether the rules and the real run say the same; None without a run to compare.

        A file that runs has no operation that the rules refuse. Of one that does not, the rules
        refuse, or do not know, each operation that the accelerator named, and at least one.
        """
        if self.run is None or self.run.outcome == "not comparable":
            return None
        refused = {o.operation for o in self.operations if o.verdict == REFUSED}
        if self.run.outcome == "ran":
            return not refused
        doubted = refused | {o.operation for o in self.operations if o.verdict != RUNS}
        return bool(doubted) and {name for name, _ in self.run.refused} <= doubted

    @property
    def agreement(self):
        """The same as a sentence."""
        return _AGREEMENT[self.agrees]

    def __str__(self):
        counts = ", ".join(f"{count} {verdict}" for verdict, count in self.counts.items() if count)
        lines = [f"{self.path} on {self.device}: {self.verdict}. {_operations(self.operations)}: "]
        lines[0] += f"{counts or 'nothing to run'}."
        if self.macs:
            lines.append(
                f"{self.macs_share:.1%} of {self.macs:,} multiply-adds run there for certain, "
                f"{self.macs_share_at_best:.1%} at best."
            )
        lines += [f"  {line}" for line in _causes(self.operations)]
        if self.run:
            lines.append(str(self.run))
            lines.append(self.agreement)
        return "\n".join(lines)

    def to_dict(self):
        """All of the report as plain Python values."""
        return {
            "path": self.path,
            "target": self.target,
            "device": self.device,
            "verdict": self.verdict,
            "counts": self.counts,
            "macs": self.macs,
            "macs_share": self.macs_share,
            "macs_share_at_best": self.macs_share_at_best,
            "operations": [dataclasses.asdict(operation) for operation in self.operations],
            "run": dataclasses.asdict(self.run) if self.run else None,
            "agrees": self.agrees,
        }

    def to_json(self):
        """The report as JSON."""
        return json.dumps(self.to_dict(), indent=1, ensure_ascii=False)

    def to_html(self):
        """The report as one page that needs nothing else: the operations coloured by verdict."""
        return page(self)

    def save(self, path):
        """Writes the report, whole or not at all; the ending says how: `.html`, `.json`, `.txt`.

        Args:
            path: File to write.

        Raises:
            ValueError: If the ending is another.
            OSError: If the file cannot be written.
        """
        forms = {".html": self.to_html, ".json": self.to_json, ".txt": self.__str__}
        ending = os.path.splitext(os.fspath(path))[1].lower()
        if ending not in forms:
            raise ValueError(f"A report is saved as {', '.join(forms)}; received {path}.")
        write_whole(path, f"{forms[ending]()}\n".encode())

    def _share(self, verdicts):
        if not self.macs:
            return 0.0
        return sum(o.macs for o in self.operations if o.verdict in verdicts) / self.macs


def _causes(operations):
    """A line for each kind of operation and its rewrite: the first of them, and how many more."""
    groups = {}
    for operation in operations:
        if operation.verdict != RUNS:
            key = (operation.verdict, operation.operation, operation.rewrite)
            groups.setdefault(key, []).append(operation)
    for first, *others in groups.values():
        yield f"{first}{f' (and {len(others)} more)' if others else ''}"


def _operations(operations):
    return f"{len(operations)} operation{'' if len(operations) == 1 else 's'}"
