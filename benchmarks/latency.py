"""Latency of int8 files beside float32 files, and beside litert-torch's of the same network.

    python benchmarks/latency.py

The networks take 224² pictures and give pooled features, without a classifier. Files of one row are
timed in turns, several times, and the smallest median of each counts, so that a busy machine
strikes all alike. litert-torch's column needs `pip install litert-torch torchvision`, and is left
empty without them.
"""

import argparse
import importlib.util
import json
import os
import pathlib
import platform
import subprocess
import sys
import tempfile

import numpy as np

from kdl.deploy import measure_latency

HERE = pathlib.Path(__file__).resolve().parent
ROUNDS = 5

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


def main():
    """Writes the files, times them, writes the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--write", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.write:
        tool, name, path = arguments.write
        write_peer(name, path) if tool == "peer" else write_ours(name, path)
        return
    with tempfile.TemporaryDirectory() as folder:
        for name in arguments.networks:
            write_all(name, os.path.join(folder, name))
        rows = {name: measure(os.path.join(folder, name), arguments) for name in arguments.networks}
    print(json.dumps(rows, indent=1))
    (HERE / "results" / "latency.md").write_text(table(rows, arguments))


def write_all(name, folder):
    """All files of a network."""
    print(f"writing the files of {name}", flush=True)
    os.mkdir(folder)
    write("ours", name, folder)
    if NETWORKS[name] and importlib.util.find_spec("litert_torch"):
        write("peer", name, folder)


def measure(folder, arguments):
    """Dict: kind of file → median milliseconds, the smallest of several rounds."""
    files = sorted(pathlib.Path(folder).glob("*.tflite"))
    times = {file.stem: [] for file in files}
    for _ in range(ROUNDS):
        for file in files:
            latency = measure_latency(file, threads=arguments.threads, runs=arguments.runs)
            times[file.stem].append(latency.median)
    return {kind: min(found) for kind, found in times.items()}


def write(tool, name, folder):
    """Converts in a process of its own, whose libraries are not those of the others."""
    environment = {**os.environ, "KERAS_BACKEND": "torch", "TF_CPP_MIN_LOG_LEVEL": "3"}
    subprocess.run(
        [sys.executable, __file__, "--write", tool, name, folder], env=environment, check=True
    )


def write_ours(name, folder):
    """float32 and int8 files of a network of kdl."""
    from kdl.applications import create_model
    from kdl.deploy import export_tflite, warm_converter
    from kdl.testing._lively_weights import give_lively_weights

    # The class that an untrained network chooses hangs by a hair; its files are compared without.
    model = create_model(name, include_top=False, input_shape=(224, 224, 3), pooling="avg")
    give_lively_weights(model)
    images = np.random.default_rng(0).standard_normal((8, 224, 224, 3)).astype("float32")
    with warm_converter():
        for form in ("float32", "int8"):
            path = os.path.join(folder, f"{form}.tflite")
            export_tflite(model, path, form, representative_data=images)


def write_peer(name, folder):
    """litert-torch's float32 file of torchvision's network."""
    import litert_torch
    import torch
    from applications import import_torchvision

    network = getattr(import_torchvision().models, NETWORKS[name])(weights=None).eval()
    replace_classifier(network, torch.nn)
    # Pictures with the channels last, as every other file takes them.
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


def processor():
    """Whether this machine multiplies int8 by an instruction of its own, in words."""
    path = pathlib.Path("/proc/cpuinfo")
    if not path.exists():
        return f"{platform.machine()}, its instructions unknown"
    words = set(path.read_text().split())
    found = sorted(words & {"avx2", "avx512f", "avx_vnni", "avx512_vnni", "asimd", "asimddp"})
    return f"{platform.machine()} with {', '.join(found) or 'no vector instructions'}"


def table(rows, arguments):
    """The rows as Markdown."""
    lines = [
        "# Latency of int8 and float32 files",
        "",
        f"Made by `python benchmarks/latency.py --threads {arguments.threads}`: LiteRT, XNNPACK, "
        "224², milliseconds, and ratios. The target is 0.8 for int8 beside float32, and 1.0 for "
        "float32 beside litert-torch's file of the same network.",
        "",
        f"Processor: {processor()}. Without dot products of int8 (VNNI on x86, SDOT on ARM) int8 "
        "has no instructions that beat float32's fused multiply-add, and pays for rescaling.",
        "",
        "| network | float32 | int8 | int8 / float32 | litert-torch | float32 / litert-torch |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for name, row in rows.items():
        peer = row.get("litert-torch")
        cells = [name, f"{row['float32']:.1f}", f"{row['int8']:.1f}"]
        cells += [f"{row['int8'] / row['float32']:.2f}"]
        cells += [f"{peer:.1f}", f"{row['float32'] / peer:.2f}"] if peer else ["", ""]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
