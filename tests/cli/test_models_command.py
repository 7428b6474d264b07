import json

import pytest
from cli.command_line import QUICK, kdl, kdl_here

import kdl as library


def test_list():
    done = kdl("list", **QUICK)
    assert done.returncode == 0
    head, *lines = done.stdout.splitlines()
    assert head.startswith("name\tparameters\tmillion MACs\tinput")
    assert len(lines) == len(library.applications.list_models(task=None))
    rows = {line.split("\t")[0]: line.split("\t")[1:] for line in lines}
    assert rows["shufflenet_v2_x1_0"] == [
        *("2,278,604", "145", "224×224×3", "69.36 %", "BSD-3-Clause (torchvision)", "classifier")
    ]
    assert rows["spnet50"][-1] == "segmenter"
    assert "no checksum" in done.stdout
    # Where no reference counts them, kdl does.
    assert rows["se_inception"][1] == "2,033"
    assert all(row[1] != "–" for row in rows.values())


def test_list_of_some_models():
    done = kdl_here("list", "shufflenet_v2_x1")
    names = [line.split("\t")[0] for line in done.stdout.splitlines()[1:]]
    assert names[:2] == ["shufflenet_v2_x1_0", "shufflenet_v2_x1_5"]
    assert all("shufflenet_v2_x1" in name for name in names)
    done = kdl_here("list", "mobilenet_a*")
    names = [line.split("\t")[0] for line in done.stdout.splitlines()[1:]]
    assert names
    assert all(name.startswith("mobilenet_a") for name in names)


def test_list_as_json():
    done = kdl_here("list", "shufflenet_v2_x1_0", "--json")
    entry, *_ = json.loads(done.stdout)
    assert entry["name"] == "shufflenet_v2_x1_0"
    assert (entry["parameters"], entry["task"]) == (2_278_604, "classifier")
    assert entry["macs_of"] == "reference"
    assert entry["imagenet_top1"] == 69.362
    [entry] = json.loads(kdl_here("list", "se_inception", "--json").stdout)
    assert (entry["macs"], entry["macs_of"]) == (2_033_239_424, "kdl")


@pytest.mark.long
def test_summary():
    done = kdl("summary", "shufflenet_v2_x0_5", "--size", "64", "--classes", "10")
    assert done.returncode == 0
    assert "stage4_unit3" in done.stdout
    assert done.stderr == ""
