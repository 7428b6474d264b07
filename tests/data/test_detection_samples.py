import copy

import numpy as np

from kdl.data import DetectionSamples


def test_samples_are_the_pair_with_attributes():
    targets = {"labels": np.array([[0, -1]]), "boxes": np.zeros((1, 2, 4))}
    samples = DetectionSamples(np.zeros((1, 8, 8, 3)), targets, ("cat",), ["a.jpg"])
    images, read = samples
    assert isinstance(samples, tuple)
    assert read is targets is samples[1] is samples.targets
    assert images is samples.images
    assert (samples.class_names, samples.names, samples.skipped) == (["cat"], ["a.jpg"], [])
    assert samples.image_ids is samples.category_ids is None
    assert repr(samples) == "<DetectionSamples: 1 images, 1 objects, 1 classes>"


def test_copies_keep_the_attributes():
    samples = DetectionSamples([], {"labels": []}, ["cat"], [], ["one"], image_ids=[7])
    copied = copy.deepcopy(samples)
    assert (copied.class_names, copied.skipped, copied.image_ids) == (["cat"], ["one"], [7])
