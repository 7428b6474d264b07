import keras
import pytest

from kdl.compression import ConstantSparsity, LayerSparsity, SparsityReport, measure_sparsity, prune
from kdl.layers import FireModule


def test_a_line_for_each_kernel_and_one_for_all():
    report = SparsityReport(
        [LayerSparsity("conv", (3, 3, 4, 8), 72, 288), LayerSparsity("head", (8, 9), 0, 72)]
    )
    assert str(report).splitlines() == [
        "conv (3×3×4×8): 25.0% of 288 weights are zero",
        "head (8×9): 0.0% of 72 weights are zero",
        "in total: 20.0% of 360 weights are zero",
    ]
    assert SparsityReport([]).sparsity == 0


def test_names_tell_the_block(tmp_path):
    inputs = keras.Input((8, 8, 4))
    model = keras.Model(inputs, FireModule(2, 4, 4, name="fire")(inputs))
    report = measure_sparsity(prune(model, ConstantSparsity(0.5)))
    assert [row.name for row in report.layers] == [
        "fire/squeeze",
        "fire/expand1x1",
        "fire/expand3x3",
    ]
    assert report.sparsity == pytest.approx(0.5)
    report.plot(tmp_path / "zeros.png")
    assert (tmp_path / "zeros.png").stat().st_size > 3000
