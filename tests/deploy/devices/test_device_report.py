import dataclasses
import json
import re
from html.parser import HTMLParser

import pytest

from kdl.deploy import DeviceReport, DeviceRun, OperationVerdict, check


def verdict(index, operation, verdict, macs=0, reads=(), cause="because"):
    return OperationVerdict(
        index=index,
        operation=operation,
        name=f"layer<{index}>",
        inputs=["float32[1×4]"],
        outputs=["float32[1×4]"],
        reads=list(reads),
        macs=macs,
        verdict=verdict,
        cause="" if verdict == "runs" else cause,
        rewrite="" if verdict == "runs" else f"rewrite of {operation}",
        source="somewhere",
    )


def report(*operations, run=None):
    return DeviceReport("m.tflite", "gpu", "a <device>", list(operations), run)


@pytest.fixture
def mixed():
    return report(
        verdict(0, "CONV_2D", "runs", macs=60),
        verdict(1, "TRANSPOSE", "may fall back", reads=[0]),
        verdict(2, "CONV_2D", "unknown", macs=30, reads=[1]),
        verdict(3, "WHILE", "refused", macs=10, reads=[0, 2]),
    )


def test_counts_and_shares(mixed):
    assert mixed.verdict == "refused"
    assert mixed.counts == {"runs": 1, "may fall back": 1, "unknown": 1, "refused": 1}
    assert (mixed.macs, mixed.macs_share, mixed.macs_share_at_best) == (100, 0.6, 0.9)
    assert report(*mixed.operations[:3]).verdict == "unknown"
    assert report(*mixed.operations[:2]).verdict == "may fall back"
    assert report(mixed.operations[0]).verdict == "runs"


def test_text(mixed):
    lines = str(mixed).splitlines()
    assert lines[0].startswith("m.tflite on a <device>: refused. 4 operations: 1 runs, 1 may fall")
    assert lines[1].startswith("60.0% of 100 multiply-adds run there for certain, 90.0% at best")
    assert lines[2].strip() == ("#3 WHILE (layer<3>): refused: because. Rewrite: rewrite of WHILE.")
    assert [line.split(": ")[1] for line in lines[2:]] == ["refused", "unknown", "may fall back"]


def test_text_tells_a_cause_once():
    many = report(*(verdict(i, "WHILE", "refused") for i in range(5)))
    assert str(many).count("because") == 1
    assert "(and 4 more)" in str(many)


def test_json_holds_all(mixed):
    data = json.loads(mixed.to_json())
    assert data["operations"][3]["reads"] == [0, 2]
    assert data["macs_share"] == 0.6
    assert data["run"] is None
    assert data["agrees"] is None


class Page(HTMLParser):
    """Tags that stay open, and what they ask for."""

    def __init__(self, page):
        super().__init__()
        self.open, self.assets, self.classes = [], [], []
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.assets += [v for k, v in attributes.items() if k in ("src", "href")]
        self.classes.append((tag, attributes.get("class")))
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_page_is_whole_and_asks_for_nothing(mixed):
    text = mixed.to_html()
    page = Page(text)
    assert page.open == []
    assert all(asset.startswith("#op") for asset in page.assets)
    assert "url(" not in text
    assert "@import" not in text
    assert "layer&lt;3&gt;" in text
    assert "a &lt;device&gt;" in text
    for kind in ("runs", "may-fall-back", "unknown", "refused"):
        # In the legend, one operation, and among the causes unless it runs.
        assert page.classes.count(("li", kind)) == (2 if kind == "runs" else 3)
        assert re.search(rf"\.{kind} {{ border-color: #\w{{6}}", text)
    for part in ("because", "rewrite of WHILE", "float32[1×4]", 'href="#op2"', "60 multiply-adds"):
        assert part in text


def test_page_begins_with_causes_and_doubts(mixed):
    text = mixed.to_html()
    order = [text.index(part) for part in ("Causes", "In doubt: 3", 'id="op1"', 'id="op3"')]
    order += [text.index(part) for part in ("Runs: 1", 'id="op0"')]
    assert order == sorted(order)
    causes = text[order[0] : order[1]]
    assert causes.index("WHILE") < causes.index("CONV_2D") < causes.index("TRANSPOSE")
    many = report(*(verdict(i, "WHILE", "refused") for i in range(5))).to_html()
    assert "and 4 more" in many
    assert "Runs:" not in many
    assert "Causes" not in report(verdict(0, "RELU", "runs")).to_html()


def test_notes_are_told_in_every_form(mixed):
    noted = dataclasses.replace(mixed, notes=["sizes <open>"])
    assert "sizes <open>" in str(noted)
    assert "sizes &lt;open&gt;" in noted.to_html()
    assert json.loads(noted.to_json())["notes"] == ["sizes <open>"]


def test_save(mixed, tmp_path):
    for ending, start in ((".html", "<!doctype"), (".json", "{"), (".txt", "m.tflite on")):
        mixed.save(tmp_path / f"report{ending}")
        assert (tmp_path / f"report{ending}").read_text(encoding="utf-8").startswith(start)
    with pytest.raises(ValueError, match=r"saved as html, json, txt; received .*pdf"):
        mixed.save(tmp_path / "report.pdf")


@pytest.mark.parametrize(
    ("static", "run", "agrees"),
    [
        ("runs", DeviceRun("ran"), True),
        ("unknown", DeviceRun("ran"), True),
        ("refused", DeviceRun("ran"), False),
        ("runs", DeviceRun("wrong"), False),
        ("refused", DeviceRun("wrong"), True),
        ("runs", DeviceRun("died"), False),
        ("refused", DeviceRun("died"), True),
        ("refused", DeviceRun("refused", refused=[("WHILE", "no")]), True),
        ("unknown", DeviceRun("refused", refused=[("WHILE", "no")]), True),
        ("refused", DeviceRun("refused", refused=[("IF", "no")]), False),
        ("refused", DeviceRun("not comparable"), None),
    ],
)
def test_agreement_of_the_rules_with_the_real_run(static, run, agrees):
    found = report(verdict(0, "WHILE", static), run=run)
    assert found.agrees is agrees
    assert found.verdict == ("refused" if run.outcome != "ran" else static)
    assert found.agreement in str(found)
    assert found.agreement in found.to_html()
    assert json.loads(found.to_json())["run"]["outcome"] == run.outcome


def test_quickstart_on_each_target(root):
    folder = root / "saved_models" / "quickstart"
    verdicts = {
        (form, target): check(folder / f"{form}.tflite", target).verdict
        for form in ("float32", "float16", "int8")
        for target in ("gpu", "edgetpu", "cpu")
    }
    assert verdicts == {
        ("float32", "gpu"): "runs",
        ("float16", "gpu"): "runs",
        ("int8", "gpu"): "runs",
        ("float32", "edgetpu"): "refused",
        ("float16", "edgetpu"): "refused",
        ("int8", "edgetpu"): "may fall back",  # its channel shuffles
        ("float32", "cpu"): "runs",
        ("float16", "cpu"): "runs",
        ("int8", "cpu"): "may fall back",  # its softmax
    }
