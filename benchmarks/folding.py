"""How much faster inference is once batch norms are folded into convolutions.

    python -m benchmarks folding

On each backend the flat graph of a network (`flatten`: Keras's own layers) and the same with its
batch norms folded (`fold_batch_norm`) take turns; the smallest time of each counts.
"""

import argparse
import json
import time

import numpy as np

from benchmarks._children import BACKENDS, make_parser, run, write_table

NETWORKS = ("mobilenet_v2_a1_0", "res2net50_26w_4s", "shufflenet_v2_x1_0")
BATCH, SIZE, TURNS = 8, 224, 12


def main(arguments=None):
    """Writes the table, a process for each backend and network."""
    parser = make_parser("folding", __doc__)
    parser.add_argument("--network", choices=NETWORKS, help=argparse.SUPPRESS)
    arguments = parser.parse_args(arguments)
    if arguments.network:
        print(json.dumps(measure(arguments.network)))
        return
    rows = []
    for name in NETWORKS:
        for backend in BACKENDS:
            found = run("folding", backend, "--network", name)
            ratio = found["flat"] / found["folded"]
            times = f"{found['flat']:.1f} | {found['folded']:.1f} | {ratio:.2f}×"
            rows.append(f"| {name} | {backend} | {times} |")
    write_table(
        "folding.md",
        "Inference with batch norms folded",
        f"`python -m benchmarks folding`: batch {BATCH}, {SIZE}², ms per image; smallest of "
        f"{TURNS} turns. A folded network's convolutions are kdl's, a flat one's Keras's own: on "
        "JAX most of the gain is theirs.",
        ["network", "backend", "flat", "folded", "faster by"],
        rows,
    )


def measure(name):
    """Milliseconds per image of the flat and of the folded network."""
    from kdl.applications import create_model
    from kdl.compression import flatten, fold_batch_norm

    model = create_model(name)
    networks = {"flat": flatten(model), "folded": fold_batch_norm(model)}
    images = np.random.default_rng(0).random((BATCH, SIZE, SIZE, 3)).astype("float32")
    times = {kind: [] for kind in networks}
    for turn in range(TURNS + 1):
        for kind, network in networks.items():
            start = time.perf_counter()
            network.predict_on_batch(images)
            if turn:  # the first compiles
                times[kind].append(time.perf_counter() - start)
    return {kind: 1000 * min(found) / BATCH for kind, found in times.items()}
