"""The GPU tables, rule by rule; and, where this machine has a driver, beside the accelerator."""

import pytest
from gpu_zoo import REFUSED, RUNS, UNKNOWN, ZOO, conv
from tiny_tflite import FLOAT, TinyFile

from kdl.deploy import check
from kdl.deploy.devices import _operation_facts as facts
from kdl.deploy.devices._gpu_rules import GPU
from kdl.deploy.tflite.graph import read_operations
from kdl.ops import mobile_gpu_safe


@pytest.fixture(params=ZOO)
def file_and_verdict(request, tmp_path):
    build, verdict = ZOO[request.param]
    return build(tmp_path / "zoo.tflite"), verdict


@pytest.fixture(scope="session")
def accelerator(tmp_path_factory):
    """Skips where LiteRT finds no GPU."""
    tiny = TinyFile()
    x = tiny.tensor((1, 4))
    path = tmp_path_factory.mktemp("driver") / "relu.tflite"
    tiny.write(path, [x], [tiny.apply("RELU", [x], ((1, 4), FLOAT))])
    try:
        assert check(path, run=True).run.outcome == "ran"
    except OSError as error:
        pytest.skip(f"No real accelerator to compare the tables with: {error}")


def test_each_side_of_each_rule(file_and_verdict):
    path, verdict = file_and_verdict
    report = check(path, "gpu")
    assert report.verdict == verdict, str(report)
    for operation in report.operations:
        assert (operation.verdict == RUNS) == (not operation.cause)
        assert operation.source


def test_the_real_accelerator_says_the_same(file_and_verdict, accelerator):
    path, verdict = file_and_verdict
    report = check(path, "gpu", run=True)
    if verdict == UNKNOWN:
        assert report.run.outcome != "ran", "measured now: add it to the table"
    else:
        assert report.agrees, str(report)


@pytest.mark.parametrize("width", [1, 2, 3, 4, 6, 8])
def test_groups_are_judged_as_the_layers_lower_them(width, tmp_path):
    """The tables know no Keras, so that the rule of `kdl.ops` stands in them once more."""
    for filters in (1, 2, 4, 6, 8):
        verdict = check(conv(width, 3 * filters, 3)(tmp_path / "groups.tflite")).verdict
        assert verdict == (RUNS if mobile_gpu_safe(width, 3 * filters, 3) else REFUSED)


@pytest.mark.export
@pytest.mark.parametrize(("channels", "filters", "groups"), [(14, 50, 2), (12, 9, 3), (30, 6, 3)])
def test_narrow_groups_of_kdl_run(channels, filters, groups, tmp_path):
    """All groups in one part, which is no SPLIT, or in several."""
    import keras

    from kdl.deploy import export_tflite
    from kdl.layers import GroupedConv2D

    inputs = keras.Input((4, 4, channels))
    model = keras.Model(inputs, GroupedConv2D(filters, 3, groups)(inputs))
    export_tflite(model, tmp_path / "narrow.tflite", "float32")
    report = check(tmp_path / "narrow.tflite", "gpu")
    assert report.verdict == RUNS, str(report)


def test_every_rule_is_broken_by_a_file(tmp_path):
    """But for those of custom operations, which `test_check.py` has."""
    broken = set()
    for build, _ in ZOO.values():
        for operation in read_operations(build(tmp_path / "zoo.tflite")).operations:
            broken |= {rule.cause for rule, _ in GPU.broken(operation)}
    elsewhere = (facts.flex, facts.compiled_for_edgetpu, facts.always)
    rules = [rule for rule in GPU.rules if rule.when not in elsewhere]
    assert {rule.cause for rule in rules} <= broken
