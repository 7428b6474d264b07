import json

import keras
import numpy as np
import pytest

import kdl
from kdl._checks import check_integer, is_integer

FIVE, SIX, TWO, ONE = (np.int64(n) for n in (5, 6, 2, 1))


@pytest.mark.parametrize("value", [5, np.int64(5), np.uint8(5), np.array(5)])
def test_integers_of_every_kind_become_int(value):
    found = check_integer("n", value)
    assert found == 5
    assert type(found) is int
    assert is_integer(value)


@pytest.mark.parametrize("value", [True, np.True_, 5.0, np.float32(5), "5", None, [5]])
def test_what_is_no_integer_is_refused(value):
    assert not is_integer(value)
    with pytest.raises(ValueError, match="n must be a positive integer; received"):
        check_integer("n", value)


def test_range_is_checked_and_told():
    assert check_integer("n", 0, least=0, most=0) == 0
    with pytest.raises(ValueError, match="n must be a positive integer; received 0"):
        check_integer("n", 0)
    with pytest.raises(ValueError, match="n must be an integer of at least 2; received 1"):
        check_integer("n", 1, least=2)
    with pytest.raises(ValueError, match="n must be an integer from 2 to 8; received 9"):
        check_integer("n", 9, least=2, most=8)


# What has a config, made with NumPy's integers, as `labels.max() + 1` gives them.
MADE = {
    "MeanIoU": lambda: kdl.metrics.MeanIoU(FIVE),
    "JaccardIndex": lambda: kdl.metrics.JaccardIndex(FIVE),
    "ExpectedCalibrationError": lambda: kdl.metrics.ExpectedCalibrationError(FIVE),
    "RetrievalMetrics": lambda: kdl.metrics.RetrievalMetrics(ranks=(ONE, FIVE)),
    "GroupedConv2D": lambda: kdl.layers.GroupedConv2D(SIX, 3, groups=TWO),
    "ChannelShuffle": lambda: kdl.layers.ChannelShuffle(TWO),
    "SqueezeExcite": lambda: kdl.layers.SqueezeExcite(TWO),
    "FireModule": lambda: kdl.layers.FireModule(TWO, SIX, SIX, dilation_rate=TWO),
    "ShuffleUnit": lambda: kdl.layers.ShuffleUnit(np.int64(8), TWO, dilation_rate=TWO),
    "ShuffleUnitV2": lambda: kdl.layers.ShuffleUnitV2(SIX),
    "SeparableBlock": lambda: kdl.layers.SeparableBlock(SIX, kernel_size=FIVE),
    "InvertedResidual": lambda: kdl.layers.InvertedResidual(SIX, expansion=TWO),
    "InceptionBlock": lambda: kdl.layers.InceptionBlock(TWO, (TWO, TWO), (TWO, TWO), np.int64(0)),
    "MixedPooling": lambda: kdl.layers.MixedPooling((FIVE, TWO), TWO),
    "FactorizedReduction": lambda: kdl.layers.FactorizedReduction(SIX),
    "ResNeXtBlock": lambda: kdl.layers.ResNeXtBlock(SIX, TWO, TWO),
    "Res2NetBlock": lambda: kdl.layers.Res2NetBlock(SIX, TWO, TWO, ONE),
    "SelfCalibratedBlock": lambda: kdl.layers.SelfCalibratedBlock(SIX, TWO, dilation_rate=TWO),
    "SelfCalibratedConv2D": lambda: kdl.layers.SelfCalibratedConv2D(pooling_ratio=TWO),
    "DilatedContext": lambda: kdl.layers.DilatedContext(dilations=(ONE, TWO)),
    "FakeQuantize": lambda: kdl.layers.FakeQuantize(FIVE, sites=TWO),
    "ScheduledDropPath": lambda: kdl.layers.ScheduledDropPath(0.5, ONE, TWO),
    "PeepholeLSTM": lambda: kdl.layers.PeepholeLSTM(FIVE),
    "MovingAverageBatchNormalization": lambda: kdl.layers.MovingAverageBatchNormalization(
        buffer_size=FIVE
    ),
    "PolynomialSparsity": lambda: kdl.compression.PolynomialSparsity(
        0.5, SIX, begin_step=ONE, power=3, frequency=TWO
    ),
}


@pytest.mark.parametrize("name", MADE)
def test_configs_of_numpy_integers_hold_plain_ones(name):
    made = MADE[name]()
    assert json.loads(json.dumps(made.get_config()))
    assert type(made).from_config(made.get_config()).get_config() == made.get_config()


def test_numpy_integers_are_taken_where_there_is_no_config():
    kdl.losses.RepulsionLoss(max_positives=FIVE)
    assert kdl.data.Mixup(num_classes=FIVE).num_classes == 5
    assert kdl.data.RandomShift(TWO).pixels == 2
    metric = keras.metrics.MeanSquaredError()
    assert kdl.training.HostEvaluation([], [metric], frequency=TWO).frequency == 2
    assert kdl.training.DropPathSchedule(FIVE).total_steps == 5


def test_applications_take_numpy_integers():
    model = kdl.applications.ShuffleNetV2(0.5, input_shape=(32, 32, 3), classes=np.int64(5))
    assert model.output_shape == (None, 5)
    assert type(model.get_config()["classes"]) is int
