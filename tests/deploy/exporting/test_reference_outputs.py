import keras
import numpy as np
import pytest

from kdl.compression import distill
from kdl.deploy import ExportError, export_tflite
from kdl.deploy.exporting.reference_outputs import check_copy, outputs_of

pytestmark = pytest.mark.every_backend


class Helper:
    gain = 3.0


class Helped(keras.layers.Layer):
    """Computes with an object that no copy gets."""

    helper = None

    def call(self, x):
        return x if self.helper is None else x * self.helper.gain


def test_copy_that_loses_what_a_layer_computes_with_is_refused():
    inputs = keras.Input((2,))
    layer = Helped()
    model = keras.Model(inputs, keras.layers.Dense(3, dtype="mixed_bfloat16")(layer(inputs)))
    x = np.random.default_rng(0).normal(size=(20, 2)).astype("float32")
    check_copy(model, x)
    layer.helper = Helper()
    model.predict_function = None  # compiled with what the layer had
    with pytest.raises(ExportError, match="neither a weight nor in its config"):
        check_copy(model, x)


def test_model_of_one_batch_size_is_compared_in_whole_batches():
    inputs = keras.Input(batch_shape=(4, 6))
    x = keras.ops.reshape(inputs, (4, -1))
    model = keras.Model(inputs, keras.layers.Dense(3, dtype="mixed_bfloat16")(x))
    x = np.random.default_rng(0).normal(size=(10, 6)).astype("float32")
    check_copy(model, x)
    assert outputs_of(model, x).shape == (10, 3)


class Decoder(keras.Model):
    """A model whose `predict` gives something else than its call."""

    def predict_step(self, data):
        return super().predict_step(data) * 0


def test_outputs_are_those_of_the_call():
    inputs = keras.Input((2,))
    model = Decoder(inputs, keras.layers.Dense(3)(inputs))
    x = np.ones((2, 2), "float32")
    expected = keras.ops.convert_to_numpy(model(x))
    np.testing.assert_allclose(outputs_of(model, x), expected, rtol=1e-6)


@pytest.mark.export
def test_student_whose_copy_loses_something_is_refused(tmp_path):
    inputs = keras.Input((2,))
    layer = Helped()
    layer.helper = Helper()
    student = keras.Model(inputs, keras.layers.Dense(3, "softmax")(layer(inputs)))
    teacher = keras.Sequential([keras.Input((2,)), keras.layers.Dense(3, "softmax")])
    with pytest.raises(ExportError, match="neither a weight nor in its config"):
        export_tflite(distill(student, teacher), tmp_path / "model.tflite")
    assert not list(tmp_path.iterdir())


class Broken(keras.layers.Layer):
    works = True

    def call(self, x):
        if not self.works:
            raise RuntimeError("no kernel for this\n\n  pages of a graph")
        return x


def test_model_that_does_not_run_is_told_in_one_line():
    inputs = keras.Input((2,))
    layer = Broken()
    model = keras.Model(inputs, layer(inputs), name="broken")
    layer.works = False
    with pytest.raises(ExportError, match=r"broken itself does not run with .*no kernel") as error:
        outputs_of(model, np.ones((2, 2), "float32"))
    assert "\n" not in str(error.value)
