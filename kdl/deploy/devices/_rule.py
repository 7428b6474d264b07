"""Rules that judge the operations of a `.tflite` file, as a table."""

import dataclasses
from collections.abc import Callable

from kdl.deploy.devices import _operation_facts as facts

RUNS = "runs"
MAY_FALL_BACK = "may fall back"
REFUSED = "refused"
UNKNOWN = "unknown"

# From the best to the worst.
VERDICTS = (RUNS, MAY_FALL_BACK, UNKNOWN, REFUSED)


@dataclasses.dataclass(frozen=True)
class Rule:
    """When a device does not take an operation that it knows.

    Attributes:
        operations: Names of the operations that it speaks of; empty for all.
        when: Function of a `FileOperation`: a text that says what was found, or nothing.
        verdict: What follows.
        cause: Why; `{}` stands for what was found.
        rewrite: What fixes it.
        source: Where that is known from.
    """

    operations: tuple
    when: Callable
    verdict: str
    cause: str
    rewrite: str
    source: str


EDGE_TPU_ONLY = Rule(
    (),
    facts.compiled_for_edgetpu,
    REFUSED,
    "{} is what the compiler for the Edge TPU has put in place of operations: only that runs it",
    "take the file from before the compiler",
    "published: Coral, Edge TPU compiler",
)


@dataclasses.dataclass(frozen=True)
class DeviceRules:
    """Knowledge of a device.

    Attributes:
        target: Its name.
        title: Its name in a sentence.
        known: Dict: operation → where it is known from that the device runs it.
        unlisted: `Rule` for an operation that neither `known` nor `rules` name.
        rules: List of `Rule`.
        one_partition: Whether all after the first operation that it does not take is lost to it.
    """

    target: str
    title: str
    known: dict
    unlisted: Rule
    rules: list
    one_partition: bool = False

    def judge(self, operation):
        """`(verdict, cause, rewrite, source)` of a `FileOperation`: the worst that applies."""
        found = [(RUNS, "", "", self.known.get(operation.name, ""))]
        found += [_outcome(rule, detail) for rule, detail in self.broken(operation)]
        if len(found) == 1 and operation.name not in self.known:
            found.append(_outcome(self.unlisted, operation.name))
        return max(found, key=lambda outcome: VERDICTS.index(outcome[0]))

    def broken(self, operation):
        """The rules that an operation breaks, each with what was found."""
        for rule in self.rules:
            if not rule.operations or operation.name in rule.operations:
                detail = rule.when(operation)
                if detail:
                    yield rule, detail


def _outcome(rule, detail):
    return rule.verdict, rule.cause.format(detail), rule.rewrite, rule.source
