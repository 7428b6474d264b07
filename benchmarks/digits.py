"""Accuracy of `model.fit` on the digits, in float32 and in mixed precision.

Each backend trains ShuffleNet V2 0.5x as the quickstart does, a process for each dtype policy. With
--policy one training runs here, on the backend of KERAS_BACKEND, and prints a line of JSON.
"""

import json
import time

from benchmarks._children import BACKENDS, make_parser, run, write_table

POLICIES = ("float32", "mixed_float16")
SIZE = 48


def main(arguments=None):
    """Trains on every backend under each policy, or here under one."""
    parser = make_parser("digits", __doc__)
    parser.add_argument("--policy", help="train here under this dtype policy, and print JSON")
    parser.add_argument("--epochs", type=int, default=15)
    arguments = parser.parse_args(arguments)
    if arguments.policy:
        print(json.dumps(measure(arguments.policy, arguments.epochs)))
        return
    rows = []
    for backend in BACKENDS:
        for policy in POLICIES:
            result = run("digits", backend, "--policy", policy, "--epochs", arguments.epochs)
            rows.append(f"| {backend} | {policy} | {result['accuracy']:.4f} |")
    write_table(
        "digits.md",
        "ShuffleNet V2 0.5x on the digits: test accuracy",
        f"`python -m benchmarks digits`: `model.fit` as in the quickstart, {arguments.epochs} "
        f"epochs at {SIZE}², 360 test images.",
        ["backend", "policy", "test accuracy"],
        rows,
    )


def measure(policy, epochs):
    """Test accuracy and seconds of a training under a policy."""
    import keras

    from kdl.applications import ShuffleNetV2
    from kdl.data import RandomShift, digits
    from kdl.training import Recipe

    keras.config.set_dtype_policy(policy)
    start = time.perf_counter()
    keras.utils.set_random_seed(0)
    train, test = digits(size=SIZE)
    model = ShuffleNetV2(alpha=0.5, input_shape=(SIZE, SIZE, 3), classes=10)
    recipe = Recipe(epochs, batch_size=32, learning_rate=0.02, augment=RandomShift(3))
    recipe.fit(model, train, verbose=0)
    accuracy = model.evaluate(*test, verbose=0, return_dict=True)["accuracy"]
    seconds = time.perf_counter() - start
    backend = keras.backend.backend()
    return {"backend": backend, "policy": policy, "accuracy": accuracy, "seconds": seconds}
