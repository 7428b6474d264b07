"""Reference detectors with weights that are made from the names of their tensors.

As in `stand_in`, but the kernel of each output channel has mean zero, so that features vary over
the image, and a file's gains make scores spread.
"""

import json
import pathlib
import zlib

import keras
import numpy as np
from golden import stand_in

from kdl.applications.weights.convert import named_weights
from kdl.testing._checks import random_array
from kdl.testing._gradients import gradients

# torchvision's name of a loss → ours.
LOSSES = {
    "classification": "class_loss",
    "bbox_regression": "box_loss",
    "bbox_ctrness": "centerness_loss",
    "loss_classifier": "class_loss",
    "loss_box_reg": "box_loss",
    "loss_mask": "mask_loss",
    "loss_objectness": "rpn_class_loss",
    "loss_rpn_box_reg": "rpn_box_loss",
}


def load(name):
    """`(state dict, arrays, meta)` of the golden file `name`."""
    data = np.load(pathlib.Path(__file__).parent / "detection" / f"{name}.npz")
    meta = json.loads(bytes(data["meta"]).decode())
    state = {each: tensor(each, tuple(shape), meta["gains"]) for each, shape in meta["tensors"]}
    return state, {key: data[key] for key in data.files if key != "meta"}, meta


def tensor(name, shape, gains=()):
    """The stand-in for the tensor of this name and shape."""
    if name.endswith("num_batches_tracked"):
        return np.zeros(shape, np.int64)
    rng = np.random.Generator(np.random.PCG64(zlib.crc32(name.encode())))
    if len(shape) >= 2:
        value = rng.standard_normal(shape) * np.sqrt(2.0 / np.prod(shape[1:]))
        mean = value.mean(axis=tuple(range(1, len(shape))), keepdims=True)
        value = value - np.round(mean, 7)
    elif name.endswith("bn3.weight"):  # ends a residual branch, in whatever part of the network
        value = rng.uniform(0.1, 0.3, shape)
    else:
        value = stand_in.tensor(name, shape)
    for end, factor, offset in gains:
        if name.endswith(end):
            value = value * factor + offset
    return np.float32(value)


def pixels(height, width, batch, seed):
    """The reference's input, float32 `(batch, height, width, 3)`."""
    rng = np.random.Generator(np.random.PCG64(seed))
    return rng.standard_normal((batch, height, width, 3)).astype("float32")


def truth(arrays):
    """The ground truth of both images, padded."""
    boxes = [arrays[f"gt_boxes_{image}"] for image in (0, 1)]
    labels = [arrays[f"gt_labels_{image}"] for image in (0, 1)]
    most = max(map(len, labels))
    padded = {"boxes": np.full((2, most, 4), -1, "float32"), "labels": np.full((2, most), -1)}
    for image in (0, 1):
        padded["boxes"][image, : len(boxes[image])] = boxes[image]
        padded["labels"][image, : len(labels[image])] = labels[image]
    return padded


def assert_close(ours, theirs, allowed):
    """The largest difference is at most `allowed` deviations of theirs."""
    assert ours.shape == theirs.shape
    assert np.abs(ours - theirs).max() <= allowed * theirs.std()


def assert_detections_match(found, arrays):
    """Detections of both images are those of the file; neighbors of close scores may swap."""
    for image in (0, 1):
        expected = {key: arrays[f"{key}_{image}"] for key in ("boxes", "labels", "scores")}
        count = len(expected["scores"])
        assert found["num_detections"][image] == count
        ours = {key: found[key][image, :count] for key in expected}
        np.testing.assert_allclose(ours["scores"], expected["scores"], atol=1e-3)
        assert (found["labels"][image, count:] == -1).all()
        free = list(range(count))
        for box, label, score in zip(*expected.values(), strict=True):
            near = [
                row
                for row in free
                if ours["labels"][row] == label
                and abs(ours["scores"][row] - score) < 1e-3
                and np.abs(ours["boxes"][row] - box).max() < 0.02
            ]
            assert near, (label, score, box)
            free.remove(near[0])


def without_second(truth, empty):
    """A copy of the ground truth, without that of the second image if `empty`."""
    truth = {key: values.copy() for key, values in truth.items()}
    if empty:
        truth["labels"][1] = -1
    return truth


def assert_losses_match(losses, meta, empty):
    """Each loss of the file, within 1e-4."""
    expected = meta["losses_second_image_without_truth" if empty else "losses"]
    for theirs, value in expected.items():
        ours = keras.ops.convert_to_numpy(losses[LOSSES[theirs]])
        np.testing.assert_allclose(ours, value, rtol=1e-4, err_msg=theirs)


def assert_gradient_norms_match(model, forward, images, meta):
    """Norms of the gradient of a scalar by each weight that the file tells of, within 1e-2."""
    named = {name: v for v, name in named_weights(model, "torchvision") if v.trainable}
    found, _ = gradients(forward, list(named.values()), images)
    scale = abs(float(random_array((), seed=1)))
    ours = {name: np.linalg.norm(g) / scale for name, g in zip(named, found, strict=True)}
    for name, norm in meta["gradient_norms"].items():
        np.testing.assert_allclose(ours[name], norm, rtol=1e-2, err_msg=name)
