"""NASNet: a cell that a search found, and paths that are dropped on a schedule.

Zoph et al., 2018 (arXiv 1707.07012) did not design a network but a space: a cell adds five pairs
of results, each an operation (separable convolution, pooling, identity) on one of the earlier
states. A controller searched it on CIFAR-10; the best normal and reduction cells, "NASNet-A", are
stacked deeper and wider for ImageNet. Two cells back is the second input, so paths cross
everywhere.

Such a network overfits unless whole paths are dropped while it trains. Dropping them with a fixed
probability harmed; dropping more and more of them, in deep cells more than in shallow ones,
helped:

    keep(l, t) = 1 − min(1, t/T) · (l + 1)/L · (1 − p),    cell l of L, step t of T

This script prints the cells, then trains a small stack of them without and with the schedule.

    python examples/nasnet.py                           # digits
    python examples/nasnet.py --data cifar10.zip --epochs 10

On two CPU cores the digits take one to two minutes.

One run with PyTorch reached 0.972 with all paths and 0.953 with the schedule (the curves:
examples/results/nasnet.png).
"""

from _shared import load_images, make_recipe, parse_arguments, report

from kdl.applications import NASNet
from kdl.layers.blocks.nasnet_cell import NASNET_A_NORMAL, NASNET_A_REDUCTION
from kdl.training import DropPathSchedule, compare_models

FINAL_KEEP = 0.6  # the paper's, on CIFAR-10


def main():
    """Prints the cells, then trains."""
    arguments = parse_arguments(__doc__, "nasnet")
    for name, cell in (("normal", NASNET_A_NORMAL), ("reduction", NASNET_A_REDUCTION)):
        print(f"{name} cell: {cell}")
    scheduled = f"keep → {FINAL_KEEP}"
    networks = {
        "keep all": lambda shape, classes: network(1.0, shape, classes),
        scheduled: lambda shape, classes: network(FINAL_KEEP, shape, classes),
    }
    train, test = load_images(arguments)
    recipe = make_recipe(arguments)
    steps = recipe.steps(len(train[0]))
    title = "A small NASNet-A, without and with ScheduledDropPath"
    callbacks = {scheduled: [DropPathSchedule(steps)]}
    report(compare_models(networks, train, test, recipe, title, callbacks), arguments.output)


def network(keep, shape, classes):
    """One normal cell between the reductions, 192 channels at the end.

    slim's momentum of batch norm, 0.9997, is for runs of many thousand steps.
    """
    return NASNet(192, 1, 8, drop_path_keep=keep, momentum=0.9, input_shape=shape, classes=classes)


if __name__ == "__main__":
    main()
