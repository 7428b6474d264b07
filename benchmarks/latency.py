"""Latency of int8 files beside float32 files, and beside litert-torch's of the same network.

    python -m benchmarks latency

The networks take 224² images and give pooled features, without a classifier; the float32 files
are those of `kdl.deploy.rewrite_for(model, "cpu")`, the int8 files of `kdl.compression.calibrate`.
Files of one row are timed in turns, several times, and the smallest median of each counts, so that
a busy machine strikes all alike. Where int8 misses its target, the table names what it loses its
time to, by the runtime's profiler. litert-torch's column needs
`pip install litert-torch torchvision`, and is left empty without them.
"""

import argparse
import importlib.util
import json
import os
import pathlib
import platform
import re
import tempfile

import numpy as np

from benchmarks._children import RESULTS, make_parser, output
from kdl.deploy import benchmark, measure_latency

ROUNDS = 10
DOT_PRODUCTS = {"avx_vnni", "avx512_vnni", "asimddp"}
TARGET = 0.8  # of int8 beside float32

# Name in the registry → name in torchvision, where it has the same architecture.
NETWORKS = {
    "shufflenet_v2_x0_5": "shufflenet_v2_x0_5",
    "shufflenet_v2_x1_0": "shufflenet_v2_x1_0",
    "mobilenet_v2_a1_0": "mobilenet_v2",
    "squeezenet1_1": "squeezenet1_1",
    "resnext50_32x4d": "resnext50_32x4d",
    "se_resnet50": None,
    "res2net50_26w_4s": None,
    "nasnet_mobile": None,
}


def main(arguments=None):
    """Writes the files, times them, writes the table."""
    parser = make_parser("latency", __doc__)
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--write", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args(arguments)
    if arguments.write:
        tool, name, path = arguments.write
        write_peer(name, path) if tool == "peer" else write_ours(name, path)
        return
    with tempfile.TemporaryDirectory() as folder:
        for name in arguments.networks:
            write_all(name, os.path.join(folder, name))
        rows = {name: measure(os.path.join(folder, name), arguments) for name in arguments.networks}
    print(json.dumps(rows, indent=1))
    (RESULTS / "latency.md").write_text(table(rows, arguments))


def write_all(name, folder):
    """All files of a network."""
    print(f"writing the files of {name}", flush=True)
    os.mkdir(folder)
    write("ours", name, folder)
    if NETWORKS[name] and importlib.util.find_spec("litert_torch"):
        write("peer", name, folder)


def measure(folder, arguments):
    """Dict: kind of file → median milliseconds, the smallest of several rounds; and `"slow"`."""
    files = sorted(pathlib.Path(folder).glob("*.tflite"))
    times = {file.stem: [] for file in files}
    for _ in range(ROUNDS):
        for file in files:
            latency = measure_latency(file, threads=arguments.threads, runs=arguments.runs)
            times[file.stem].append(latency.median)
    row = {kind: min(found) for kind, found in times.items()}
    if row["int8"] > TARGET * row["float32"]:
        row["slow"] = slow_operations(folder)
    return row


def slow_operations(folder):
    """The two kinds of operations that take longest in the int8 file: (name, float32, int8)."""
    as_float, as_int8 = (profile(os.path.join(folder, f"{f}.tflite")) for f in ("float32", "int8"))
    longest = sorted(as_int8, key=as_int8.get)[:-3:-1]
    return [(name, as_float.get(name, 0.0), as_int8[name]) for name in longest]


def profile(path):
    """Dict: kind of operation, whatever its numbers are → milliseconds in all."""
    found = {}
    for operation in benchmark(path, runs=30, profile=True).profile:
        kind = re.sub(r" \([^)]*\)", "", operation.name)  # without "(NHWC, F32)"
        found[kind] = found.get(kind, 0.0) + operation.milliseconds
    return found


def write(tool, name, folder):
    """Converts in a process of its own, whose libraries are not those of the others."""
    output("torch", "-m", "benchmarks", "latency", "--write", tool, name, folder)


def write_ours(name, folder):
    """float32 and int8 files of a network of kdl."""
    from kdl.applications import create_model
    from kdl.compression import calibrate
    from kdl.deploy import export_tflite, rewrite_for, warm_converter
    from kdl.testing._randomized_weights import randomize_weights

    # The class that an untrained network chooses hangs by a hair; its files are compared without.
    model = create_model(name, include_top=False, input_shape=(224, 224, 3), pooling="avg")
    randomize_weights(model)
    images = np.random.default_rng(0).standard_normal((8, 224, 224, 3)).astype("float32")
    quantized, _ = calibrate(model, images, verbose=0)
    rewritten, _ = rewrite_for(model, "cpu")
    with warm_converter():
        for form, network in (("float32", rewritten), ("int8", quantized)):
            path = os.path.join(folder, f"{form}.tflite")
            export_tflite(network, path, form, verification_data=images)


def write_peer(name, folder):
    """litert-torch's float32 file of torchvision's network."""
    import litert_torch
    import torch

    from benchmarks._torchvision import import_torchvision

    network = getattr(import_torchvision().models, NETWORKS[name])(weights=None).eval()
    replace_classifier(network, torch.nn)
    # Images with the channels last, as every other file takes them.
    network = litert_torch.to_channel_last_io(network, args=[0])
    example = (torch.randn(1, 224, 224, 3),)
    litert_torch.convert(network, example).export(os.path.join(folder, "litert-torch.tflite"))


def replace_classifier(network, nn):
    """Leaves pooled features, as kdl's files here have them."""
    if hasattr(network, "fc"):
        network.fc = nn.Identity()
    elif type(network).__name__ == "SqueezeNet":
        network.classifier = nn.AdaptiveAvgPool2d(1)  # its classifier pools, the others do not
    else:
        network.classifier = nn.Identity()


def cpu():
    """This machine's instructions, and whether int8 has any of its own among them, in words."""
    path = pathlib.Path("/proc/cpuinfo")
    if not path.exists():
        return f"{platform.machine()}, its instructions unknown."
    words = set(path.read_text().split())
    found = sorted(words & {"avx2", "avx512f", *DOT_PRODUCTS, "asimd"})
    text = f"{platform.machine()} with {', '.join(found) or 'no vector instructions'}"
    if words & DOT_PRODUCTS:
        return f"{text}: it has dot products of int8."
    return (
        f"{text}: without dot products of int8 (VNNI on x86, SDOT on ARM) int8 has no instructions "
        f"that beat float32's fused multiply-add, and pays for rescaling."
    )


def table(rows, arguments):
    """The rows as Markdown."""
    lines = [
        "# Latency of int8 and float32 files",
        "",
        f"Made by `python -m benchmarks latency --threads {arguments.threads}`: LiteRT, XNNPACK, "
        f"224², milliseconds, and ratios. The target is {TARGET} for int8 beside float32, and 1.0 "
        "for float32 beside litert-torch's file of the same network.",
        "",
        f"CPU: {cpu()}",
        "",
        "| network | float32 | int8 | int8 / float32 | litert-torch | float32 / litert-torch |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for name, row in rows.items():
        peer = row.get("litert-torch")
        cells = [name, f"{row['float32']:.2f}", f"{row['int8']:.2f}"]
        cells += [f"{row['int8'] / row['float32']:.2f}"]
        cells += [f"{peer:.2f}", f"{row['float32'] / peer:.2f}"] if peer else ["", ""]
        lines.append(f"| {' | '.join(cells)} |")
    for name, row in rows.items():
        if "slow" in row:
            found = [f"{kind} {old:.1f} → {new:.1f} ms" for kind, old, new in row["slow"]]
            lines += ["", f"{name}, float32 → int8, all of a kind: {'; '.join(found)}."]
    return "\n".join(lines) + "\n"
