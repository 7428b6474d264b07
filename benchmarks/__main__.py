"""The benchmarks by name: `python -m benchmarks NAME …`."""

import importlib
import sys
from typing import NamedTuple


class Entry(NamedTuple):
    """A benchmark.

    Attributes:
        purpose: What it measures.
        cost: Time on two CPU cores, and what else it needs.
        results: Its page in `benchmarks/results`.
        in_all: Whether `all` runs it: it needs neither data nor hours.
    """

    purpose: str
    cost: str
    results: str
    in_all: bool = False


BENCHMARKS = {
    "applications": Entry(
        "training step and inference beside Keras, torchvision and timm",
        "an hour and more; '.[bench]'",
        "applications.md",
    ),
    "cifar10": Entry(
        "that each family learns CIFAR-10, and what its int8 file keeps",
        "hours; --data cifar10.zip",
        "cifar10.md",
    ),
    "cpu_check": Entry(
        "what LiteRT's interpreter and XNNPACK run of each operation",
        "a minute; writes the table of `kdl check`",
        "cpu_check.md",
    ),
    "digits": Entry(
        "accuracy of `model.fit` on each backend, float32 and mixed precision",
        "a quarter of an hour",
        "digits.md",
        in_all=True,
    ),
    "folding": Entry(
        "inference with batch norms folded", "tens of minutes", "folding.md", in_all=True
    ),
    "gpu_check": Entry(
        "`kdl check` against LiteRT's GPU accelerator, whole networks",
        "half an hour, hours with --every-model; a Vulkan driver",
        "gpu_check.md",
    ),
    "gpu_operations": Entry(
        "the same, each operation in the smallest file that holds it",
        "a quarter of an hour; a Vulkan driver",
        "gpu_operations.md",
    ),
    "imports": Entry(
        "seconds that `import kdl` adds to `import keras`", "a minute", "imports.md", in_all=True
    ),
    "latency": Entry(
        "int8 and float32 files in LiteRT, beside litert-torch's",
        "an hour; litert-torch for its column",
        "latency.md",
    ),
    "layers": Entry(
        "norms and recurrent layers beside Keras's own",
        "tens of minutes",
        "layers.md",
        in_all=True,
    ),
    "losses": Entry(
        "losses with their gradients beside other libraries'",
        "tens of minutes; '.[bench]'",
        "losses.md",
    ),
    "quantization": Entry(
        "accuracy of int8 files, and how near they are to their models",
        "hours",
        "quantization.md",
    ),
}


def main(arguments):
    """Runs a benchmark with its own arguments, or all that are quick; without a name lists them."""
    name, *rest = arguments or ["--list"]
    if name in ("--list", "--help", "-h"):
        print(listing())
    elif name == "all" and not rest:
        for quick in (n for n, entry in BENCHMARKS.items() if entry.in_all):
            print(f"== {quick}", flush=True)
            run(quick, [])
    elif name in BENCHMARKS:
        run(name, rest)
    else:
        wanted = "`all`, which takes no arguments" if name == "all" else f"no benchmark {name!r}"
        sys.exit(f"python -m benchmarks: {wanted}.\n\n{listing()}")


def run(name, arguments):
    """Runs one benchmark."""
    importlib.import_module(f"benchmarks.{name}").main(arguments)


def listing():
    """What there is, a paragraph a benchmark."""
    quick = ", ".join(name for name, entry in BENCHMARKS.items() if entry.in_all)
    lines = ["usage: python -m benchmarks NAME [ARGUMENTS …]", ""]
    for name, entry in BENCHMARKS.items():
        lines.append(f"  {name:<16}{entry.purpose}")
        lines.append(f"{'':18}{entry.cost} → benchmarks/results/{entry.results}")
    lines += ["", f"  {'all':<16}one after the other: {quick}", ""]
    return "\n".join([*lines, "`python -m benchmarks NAME --help` tells the arguments of one."])


if __name__ == "__main__":
    main(sys.argv[1:])
