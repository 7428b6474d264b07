import keras
import numpy as np

from kdl.training import save_portable


@keras.saving.register_keras_serializable("kdl_tests")
class TwoHeads(keras.Model):
    """A subclass, whose configuration says nothing of its input."""

    def __init__(self, units, **kwargs):
        super().__init__(**kwargs)
        self.units = units
        self.first, self.second = keras.layers.Dense(units), keras.layers.Dense(units)

    def call(self, x):
        return self.first(x) + self.second(x)

    def get_config(self):
        return {**super().get_config(), "units": self.units}


def test_subclass_of_model(tmp_path):
    x = np.arange(6, dtype="float32").reshape(2, 3)
    model = TwoHeads(4)
    model.compile("adam", "mse")
    model.fit(x, np.ones((2, 4)), verbose=0)
    save_portable(model, tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert not loaded.compiled
    assert (loaded.predict(x, verbose=0) == model.predict(x, verbose=0)).all()
