"""`model.fit` on the digits under a dtype policy: does it learn, and how long does it take?

KERAS_BACKEND=jax python benchmarks/digits.py --policy mixed_bfloat16
"""

import argparse
import json
import time

import keras

import kdl


def main():
    """Prints one line of JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--policy", default="float32")
    parser.add_argument("--epochs", type=int, default=15)
    arguments = parser.parse_args()
    keras.config.set_dtype_policy(arguments.policy)
    start = time.perf_counter()
    accuracy = train(arguments.epochs)
    seconds = time.perf_counter() - start
    backend = keras.backend.backend()
    print(
        json.dumps(
            {
                "backend": backend,
                "policy": arguments.policy,
                "accuracy": accuracy,
                "seconds": seconds,
            }
        )
    )


def train(epochs):
    """Test accuracy after the quickstart's training."""
    keras.utils.set_random_seed(0)
    train_digits, test_digits = kdl.data.digits(size=48)
    dataset = kdl.data.ArrayDataset(*train_digits, augment=kdl.data.RandomShift(3))
    steps = epochs * len(dataset)
    model = kdl.applications.ShuffleNetV2(alpha=0.5, input_shape=(48, 48, 3), classes=10)
    schedule = kdl.training.WarmUpCosine(0.02, steps, steps // 10)
    model.compile(
        keras.optimizers.AdamW(schedule, weight_decay=0.02),
        "sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )
    model.fit(dataset, epochs=epochs, shuffle=False, verbose=0)
    return model.evaluate(*test_digits, verbose=0, return_dict=True)["accuracy"]


if __name__ == "__main__":
    main()
