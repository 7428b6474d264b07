"""Device compatibility report of a `.tflite` file, operation by operation."""

import dataclasses
from collections import Counter
from typing import Any

from kdl._report import Report
from kdl.deploy.devices._report_page import page
from kdl.deploy.devices._rule import REFUSED, RUNS, VERDICTS
from kdl.deploy.devices.device_run import DeviceRun

_AGREEMENT = {
    True: "The rules and the real run agree.",
    False: "The rules and the real run disagree.",
    None: "There is no real run to compare the rules with.",
}


@dataclasses.dataclass(frozen=True)
class OperationVerdict:
    """Verdict on one operation.

    Attributes:
        index: Its number in the order of execution.
        operation: Its kind, such as `CONV_2D`.
        name: Name of its first output.
        inputs: Types and shapes of its inputs, in words.
        outputs: The same for its outputs.
        reads: Numbers of the operations whose outputs it reads.
        macs: Multiply-adds in one run; 0 in the branch of an IF that has fewer.
        verdict: `"runs"`, `"may fall back"`, `"unknown"` or `"refused"`.
        cause: Why, unless it runs.
        rewrite: What fixes it, where something does.
        source: Whether the verdict was measured (on which version), published, or neither.
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
class DeviceReport(Report):
    """Report of what a device will run of a `.tflite` file; never a promise.

    Attributes:
        path: The file.
        target: `"gpu"`, `"edgetpu"` or `"cpu"`.
        device: The device in words.
        operations: List of `OperationVerdict`.
        run: `DeviceRun` on the real accelerator; None if it was not asked for.
        notes: Sentences on what the verdicts take for granted, such as dynamic dimensions.
    """

    path: str
    target: str
    device: str
    operations: list
    run: DeviceRun | None = None
    notes: list = dataclasses.field(default_factory=list)

    @property
    def verdict(self) -> str:
        """The worst of all; `"refused"` too if the real accelerator did not run the file."""
        found = [operation.verdict for operation in self.operations]
        found += [self.run.verdict] if self.run else []
        return max(found, key=VERDICTS.index, default=RUNS)

    @property
    def counts(self) -> dict[str, int]:
        """Dict: verdict → number of operations."""
        counted = Counter(operation.verdict for operation in self.operations)
        return {verdict: counted[verdict] for verdict in VERDICTS}

    @property
    def doubts(self) -> list[list[OperationVerdict]]:
        """Lists of the operations of one kind, verdict and rewrite, but for those that run."""
        groups = {}
        for operation in self.operations:
            if operation.verdict != RUNS:
                key = (operation.verdict, operation.operation, operation.rewrite)
                groups.setdefault(key, []).append(operation)
        return sorted(groups.values(), key=lambda group: -VERDICTS.index(group[0].verdict))

    @property
    def macs(self) -> int:
        """Multiply-adds of one run."""
        return sum(operation.macs for operation in self.operations)

    @property
    def macs_share(self) -> float:
        """Share of the multiply-adds in operations that run on the device for certain."""
        return self._share((RUNS,))

    @property
    def macs_share_at_best(self) -> float:
        """The same if all runs that is not refused."""
        return self._share([verdict for verdict in VERDICTS if verdict != REFUSED])

    @property
    def agrees(self) -> bool | None:
        """Tell if the rules and the real run say the same; None without a run to compare.

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
    def agreement(self) -> str:
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
        lines += self.notes
        for first, *others in self.doubts:
            lines.append(f"  {first}{f' (and {len(others)} more)' if others else ''}")
        if self.run:
            lines.append(str(self.run))
            lines.append(self.agreement)
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
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
            "notes": self.notes,
            "operations": [dataclasses.asdict(operation) for operation in self.operations],
            "run": dataclasses.asdict(self.run) if self.run else None,
            "agrees": self.agrees,
        }

    def to_html(self) -> str:
        """The report as one page that needs nothing else: the operations colored by verdict."""
        return page(self)

    def _share(self, verdicts):
        if not self.macs:
            return 0.0
        return sum(o.macs for o in self.operations if o.verdict in verdicts) / self.macs


def _operations(operations):
    return f"{len(operations)} operation{'' if len(operations) == 1 else 's'}"
