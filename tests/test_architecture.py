"""The architecture: a package imports from packages on lower floors only."""

import ast
import graphlib
import operator
import subprocess
import sys

import keras
import pytest

import kdl
from kdl._packages import PACKAGES

# Modules on the ground, and below it what child processes run; then the packages.
FLOORS = {
    **dict.fromkeys(("_child", "_packages", "_signals", "_typing", "_warn"), -1),
    **dict.fromkeys(("_checks", "_compat", "_deprecation", "_files", "_process", "_words"), 0),
    **dict.fromkeys(("_lazy", "_plots", "_registry", "_report"), 0.5),
    **{package.name: package.floor for package in PACKAGES},
    "__main__": 8,
}
FREE = ("testing", "__init__", "_registration")


def names_imported(path):
    """Modules, and names in modules."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def packages_imported(path):
    for name in names_imported(path):
        parts = name.split(".")
        if parts[0] == "kdl" and parts[1:] and parts[1] in {*FLOORS, *FREE}:
            yield parts[1]


def test_packages_import_from_below_only(root):
    seen = 0
    for path in (root / "kdl").rglob("*.py"):
        package = path.relative_to(root / "kdl").parts[0].removesuffix(".py")
        if package in FREE:
            continue
        for other in packages_imported(path):
            seen += 1
            assert other == package or FLOORS[other] < FLOORS[package], (
                f"{path} imports kdl.{other}"
            )
    assert seen > 20


# A folder of `kdl.deploy` → its floor.
OF_DEPLOY = {
    "rewriting": 0,
    "tflite": 0,
    "devices": 1,
    "runtime": 1,
    "exporting": 2,
    "profiling": 2,
}


def test_folders_of_deploy_import_from_below_only(root):
    folder = root / "kdl" / "deploy"
    assert {path.parent.name for path in folder.glob("*/__init__.py")} == {*OF_DEPLOY}
    assert [path.name for path in folder.glob("*.py")] == ["__init__.py"]
    for path in folder.glob("*/*.py"):
        own = path.parent.name
        for name in names_imported(path):
            _, package, *parts = [*name.split("."), ""]
            if package == "deploy" and parts[0] in OF_DEPLOY and parts[0] != own:
                assert OF_DEPLOY[parts[0]] < OF_DEPLOY[own], f"{path} imports {name}"


def test_no_module_imports_itself_through_others(root):
    """Imports in functions count, too: what two modules need of each other is a third one."""
    files = {
        ".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__"): path
        for path in (root / "kdl").rglob("*.py")
    }

    def module_of(name):
        while name and name not in files:
            name = name.rpartition(".")[0]
        return name

    imported = {
        name: {*map(module_of, names_imported(path))} - {name, ""} for name, path in files.items()
    }
    assert sum(map(len, imported.values())) > 500
    graphlib.TopologicalSorter(imported).prepare()


def test_no_private_keras(root):
    for folder in ("kdl", "tests", "examples", "benchmarks"):
        for path in (root / folder).rglob("*.py"):
            known = path.name in ("_compat.py", "test_architecture.py")
            text = path.read_text()
            assert known or not ("keras.src" in text or "._keras_history" in text), path


# Module → what copies layers, weights or models in it. There is one way to copy: `kdl.graph`.
COPYING = {
    "graph/copy_layer.py": {"from_config"},
    "graph/copy_model.py": {"from_config"},
    "graph/copy_weights.py": {"set_weights"},
    "graph/replay.py": {"clone_model", "from_config"},
    # Below kdl.graph: layers without state of their own, and a block's own convolutions.
    "data/augmentation.py": {"from_config"},
    "layers/blocks/resnext_block.py": {"set_weights"},
    # A model gets its own weights back where a file did not fit.
    "applications/weights/own_file.py": {"set_weights"},
    # How an object is read from its own config.
    "compression/distillation/distillation.py": {"deserialize_keras_object"},
    "compression/pruning/pruned_model.py": {"deserialize_keras_object"},
    "losses/hard_negative_mining.py": {"deserialize_keras_object"},
    "applications/_backbone.py": {"deserialize_keras_object"},
    "detection/_part.py": {"deserialize_keras_object"},
    "detection/detector.py": {"deserialize_keras_object"},
    # A learning-rate schedule; whether a layer can be read back.
    "compression/tfmot/_training.py": {"deserialize_keras_object"},
    "ensembles/_model_files.py": {"deserialize_keras_object"},
    # tf_keras, in a process that has no Keras 3.
    "compression/tfmot/_tf_methods.py": {"clone_model", "set_weights"},
    "compression/tfmot/_tf_model.py": {"set_weights"},
    "compression/tfmot/_worker.py": {"set_weights"},
    # Checks of from_config and clone_model themselves.
    "testing/_checks.py": {"deserialize_keras_object", "from_config"},
    "testing/layer_test.py": {"from_config"},
    "testing/model_test.py": {"clone_model", "from_config"},
}


def methods_called(path):
    calls = (node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call))
    return {call.func.attr for call in calls if isinstance(call.func, ast.Attribute)}


def test_models_are_copied_in_one_way(root):
    ways = {"clone_model", "deserialize_keras_object", "from_config", "set_weights"}
    found = {}
    for path in (root / "kdl").rglob("*.py"):
        if ways & methods_called(path):
            found[path.relative_to(root / "kdl").as_posix()] = ways & methods_called(path)
    assert found == COPYING


PUBLIC = {
    "applications": [
        "Application",
        "MobileNet",
        "MobileNetV2",
        "MobileNetV3",
        "ModelEntry",
        "NASNet",
        "NASNetLarge",
        "NASNetMobile",
        "Res2NeXt50",
        "Res2Net",
        "Res2Net101",
        "Res2Net50",
        "ResNeXt",
        "ResNeXt101",
        "ResNeXt50",
        "ResNet",
        "ResNet101",
        "ResNet50",
        "SCNet",
        "SCNet101",
        "SCNet50",
        "SEInception",
        "SENet154",
        "SEResNeXt101",
        "SEResNeXt50",
        "SEResNet",
        "SEResNet101",
        "SEResNet152",
        "SEResNet50",
        "ShuffleNet",
        "ShuffleNetV2",
        "SqueezeNet",
        "create_model",
        "list_models",
        "load_keras_weights",
        "load_torch_weights",
        "macs",
        "pyramid",
    ],
    "compression": [
        "ConstantSparsity",
        "Distillation",
        "KeptFloat",
        "LayerSparsity",
        "PolynomialSparsity",
        "PrunedModel",
        "QuantizationReport",
        "SparsityReport",
        "SparsitySchedule",
        "calibrate",
        "distill",
        "flatten",
        "fold_batch_norm",
        "measure_sparsity",
        "prune",
        "quantize_aware",
        "round_biases",
        "strip",
    ],
    "compression.tfmot": [
        "TFMOTModel",
        "cluster",
        "prune",
        "quantize",
        "strip",
        "warm_process",
    ],
    "data": [
        "ArrayDataset",
        "Augmentation",
        "DetectionDataset",
        "DetectionSamples",
        "ImageFolder",
        "InputSpec",
        "Mixup",
        "ModelInfo",
        "PKSampler",
        "RandomExpand",
        "RandomHorizontalFlip",
        "RandomIoUCrop",
        "RandomShift",
        "Samples",
        "bar_masks",
        "digit_masks",
        "digit_scenes",
        "digits",
        "get_model_info",
        "instance_targets",
        "load_image_folder",
        "random_subset",
        "read_characters",
        "read_coco",
        "read_image_folder",
        "read_instance_masks",
        "read_label_maps",
        "read_model_info",
        "read_samples",
        "read_voc",
        "set_model_info",
        "write_model_info",
    ],
    "deploy": [
        "Benchmark",
        "ClassShare",
        "Classification",
        "DeviceReport",
        "DeviceRun",
        "ExportError",
        "ImageClassifier",
        "ImageSegmenter",
        "Latency",
        "OperationTime",
        "OperationVerdict",
        "OutputComparison",
        "Rewrite",
        "Segmentation",
        "TFLiteFile",
        "TFLiteRunner",
        "Tolerances",
        "Verification",
        "benchmark",
        "check",
        "export_tflite",
        "measure_latency",
        "plot_benchmarks",
        "plot_device_reports",
        "read_tflite",
        "rewrite_for",
        "verify_tflite",
        "warm_converter",
        "write_metadata",
        "write_sidecar",
    ],
    "detection": [
        "AnchorCoverage",
        "AnchorGenerator",
        "AnchorTargets",
        "BalancedSampler",
        "BoxCoder",
        "BoxHead",
        "DefaultBoxes",
        "DenseDetections",
        "DetectionMasks",
        "DetectionSelector",
        "Detector",
        "FCOS",
        "FCOSHead",
        "FCOSMatcher",
        "FasterRCNN",
        "FeaturePyramid",
        "LinearBoxCoder",
        "MaskHead",
        "MaskRCNN",
        "Matcher",
        "Matches",
        "ROIHeads",
        "RPN",
        "RegionDetections",
        "RetinaNet",
        "RetinaNetHead",
        "SSD",
        "SSD300",
        "SSD512",
        "SSDExtras",
        "SSDHead",
        "SSDLite320",
        "SSDVGG16",
        "anchor_coverage",
        "assign_targets",
        "load_torch_weights",
    ],
    "ensembles": [
        "AdaBoostEnsemble",
        "BaggingEnsemble",
        "DeepEnsemble",
        "GradientBoostedEnsemble",
        "StackingEnsemble",
        "VotingEnsemble",
        "load",
    ],
    "graph": ["copy_layer", "copy_model", "copy_weights"],
    "layers": [
        "AveragePooling2D",
        "BatchNormalization",
        "CentralizedConv2D",
        "ChannelShuffle",
        "Conv2D",
        "CoupledLSTM",
        "CoupledLSTMCell",
        "DepthwiseConv2D",
        "DilatedContext",
        "FactorizedReduction",
        "FakeQuantize",
        "FireModule",
        "GroupedConv2D",
        "InceptionBlock",
        "InvertedResidual",
        "L2Normalization",
        "MaxPooling2D",
        "MixedPooling",
        "MovingAverageBatchNormalization",
        "NASNetCell",
        "PeepholeLSTM",
        "PeepholeLSTMCell",
        "QuantizedConv2D",
        "QuantizedConv2DTranspose",
        "QuantizedDense",
        "QuantizedDepthwiseConv2D",
        "Res2NetBlock",
        "ResNeXtBlock",
        "ScheduledDropPath",
        "SelfCalibratedBlock",
        "SelfCalibratedConv2D",
        "SeparableBlock",
        "ShuffleUnit",
        "ShuffleUnitV2",
        "SqueezeExcite",
        "StripPooling",
        "SwitchableNormalization",
        "SyncBatchNormalization",
        "convert_sync_batch_norm",
    ],
    "layers.recurrent": [
        "CoupledLSTM",
        "CoupledLSTMCell",
        "PeepholeLSTM",
        "PeepholeLSTMCell",
        "coupled_lstm_weights",
        "gru_weights",
        "lstm_weights",
    ],
    "losses": [
        "CIoULoss",
        "DIoULoss",
        "FocalLoss",
        "GIoULoss",
        "HardNegativeMining",
        "JaccardLoss",
        "LabelSmoothingCrossentropy",
        "LovaszHinge",
        "LovaszSoftmax",
        "MixupCrossentropy",
        "RepulsionLoss",
        "SmoothL1",
        "TripletLoss",
        "ciou_loss",
        "diou_loss",
        "focal_loss",
        "giou_loss",
        "hard_negative_mining",
        "jaccard_loss",
        "label_smoothing_crossentropy",
        "lovasz_hinge",
        "lovasz_softmax",
        "mixup_crossentropy",
        "repulsion_loss",
        "repulsion_terms",
        "smooth_l1",
        "triplet_loss",
    ],
    "metrics": [
        "ActiveTriplets",
        "CocoMeanAveragePrecision",
        "EmbeddingCollapse",
        "ExpectedCalibrationError",
        "JaccardIndex",
        "LogAverageMissRate",
        "MeanIoU",
        "MixupAccuracy",
        "RetrievalMetrics",
        "VocMeanAveragePrecision",
    ],
    "ops": [
        "adaptive_average_pool",
        "average_pool",
        "batch_gather",
        "batch_total",
        "batched_nms",
        "box_area",
        "box_ciou",
        "box_diou",
        "box_giou",
        "box_intersection",
        "box_iog",
        "box_iou",
        "channel_shuffle",
        "channel_split",
        "clip_boxes",
        "conv",
        "crop_masks",
        "decode_boxes",
        "decode_rle",
        "depthwise_conv",
        "encode_boxes",
        "encode_rle",
        "fake_quantize",
        "fake_quantize_weights",
        "fused_batch_norm",
        "grouped_conv",
        "has_replicas",
        "lowering_scope",
        "mask_iou",
        "mask_to_boxes",
        "max_pool",
        "mobile_gpu_safe",
        "nms",
        "pairwise_distances",
        "paste_masks",
        "polygons_to_mask",
        "pyramid_roi_align",
        "replica_moments",
        "replica_number",
        "replica_sum",
        "resize_align_corners",
        "roi_align",
        "roi_levels",
        "soft_nms",
        "weight_scales",
    ],
    "segmentation": [
        "SPNet",
        "SPNet101",
        "SPNet50",
        "plot_segmentation",
        "predict_labels",
        "segmentation_scores",
    ],
    "testing": ["run_export_test", "run_layer_test", "run_loss_test", "run_model_test"],
    "training": [
        "Backup",
        "ClassifierRun",
        "Comparison",
        "DropPathSchedule",
        "HostEvaluation",
        "Recipe",
        "WarmUpCosine",
        "compare_models",
        "distribute",
        "format_table",
        "launch",
        "launches_processes",
        "plot_confusion_matrix",
        "plot_curves",
        "plot_history",
        "recalibrate",
        "save_portable",
        "train_and_measure",
    ],
}


SUB_PACKAGES = {"compression": ["tfmot"], "layers": ["recurrent"]}


@pytest.mark.parametrize(
    ("before", "today"),
    [("Answer", "Classification"), ("Gates", "Tolerances"), ("Runner", "ImageClassifier")],
)
def test_renamed_names_warn_and_work(before, today):
    with pytest.warns(FutureWarning, match=f"kdl.deploy.{before} is now kdl.deploy.{today}"):
        assert getattr(kdl.deploy, before) is getattr(kdl.deploy, today)
    assert before not in dir(kdl.deploy)


@pytest.mark.parametrize("package", PUBLIC)
def test_public_names_are_frozen(package):
    module = operator.attrgetter(package)(kdl)
    names = sorted(PUBLIC[package] + SUB_PACKAGES.get(package, []))
    assert dir(module) == names
    assert all(getattr(module, name).__doc__ for name in names)
    starred = {}
    exec(f"from kdl.{package} import *", starred)
    assert sorted(starred.keys() - {"__builtins__"}) == names


def test_registered_names_are_frozen():
    ours = [name for name in keras.saving.get_custom_objects() if name.startswith("kdl>")]
    assert sorted(ours) == [
        "kdl>ActiveTriplets",
        "kdl>AnchorGenerator",
        "kdl>AveragePooling2D",
        "kdl>BalancedSampler",
        "kdl>BatchNormalization",
        "kdl>BoxCoder",
        "kdl>BoxHead",
        "kdl>CIoULoss",
        "kdl>CentralizedConv2D",
        "kdl>ChannelShuffle",
        "kdl>CocoMeanAveragePrecision",
        "kdl>ConstantSparsity",
        "kdl>ContextIdentity",
        "kdl>Conv2D",
        "kdl>CoupledLSTM",
        "kdl>CoupledLSTMCell",
        "kdl>DIoULoss",
        "kdl>DefaultBoxes",
        "kdl>DenseDetections",
        "kdl>DepthwiseConv2D",
        "kdl>DetectionMasks",
        "kdl>DetectionSelector",
        "kdl>DilatedContext",
        "kdl>Distillation",
        "kdl>EmbeddingCollapse",
        "kdl>ExpectedCalibrationError",
        "kdl>FCOS",
        "kdl>FCOSHead",
        "kdl>FCOSMatcher",
        "kdl>FactorizedReduction",
        "kdl>FakeQuantize",
        "kdl>FasterRCNN",
        "kdl>FeaturePyramid",
        "kdl>FireModule",
        "kdl>FocalLoss",
        "kdl>GIoULoss",
        "kdl>GroupedConv2D",
        "kdl>HardNegativeMining",
        "kdl>InceptionBlock",
        "kdl>InvertedResidual",
        "kdl>JaccardIndex",
        "kdl>JaccardLoss",
        "kdl>KeepMask",
        "kdl>L2Normalization",
        "kdl>LabelSmoothingCrossentropy",
        "kdl>LinearBoxCoder",
        "kdl>LogAverageMissRate",
        "kdl>LovaszHinge",
        "kdl>LovaszSoftmax",
        "kdl>MaskHead",
        "kdl>MaskRCNN",
        "kdl>Matcher",
        "kdl>MaxPooling2D",
        "kdl>MeanIoU",
        "kdl>MixedPooling",
        "kdl>MixupAccuracy",
        "kdl>MixupCrossentropy",
        "kdl>MobileNet",
        "kdl>MobileNetV2",
        "kdl>MobileNetV3",
        "kdl>MovingAverageBatchNormalization",
        "kdl>NASNet",
        "kdl>NASNetCell",
        "kdl>PeepholeLSTM",
        "kdl>PeepholeLSTMCell",
        "kdl>PolynomialSparsity",
        "kdl>PrunedModel",
        "kdl>QuantizedConv2D",
        "kdl>QuantizedConv2DTranspose",
        "kdl>QuantizedDense",
        "kdl>QuantizedDepthwiseConv2D",
        "kdl>ROIHeads",
        "kdl>RPN",
        "kdl>RegionDetections",
        "kdl>RepulsionLoss",
        "kdl>Res2Net",
        "kdl>Res2NetBlock",
        "kdl>ResNeXt",
        "kdl>ResNeXtBlock",
        "kdl>ResNet",
        "kdl>RetinaNet",
        "kdl>RetinaNetHead",
        "kdl>RetrievalMetrics",
        "kdl>SCNet",
        "kdl>SEInception",
        "kdl>SEResNet",
        "kdl>SPNet",
        "kdl>SSD",
        "kdl>SSDExtras",
        "kdl>SSDHead",
        "kdl>SSDVGG16",
        "kdl>ScheduledDropPath",
        "kdl>SelfCalibratedBlock",
        "kdl>SelfCalibratedConv2D",
        "kdl>SeparableBlock",
        "kdl>ShuffleNet",
        "kdl>ShuffleNetV2",
        "kdl>ShuffleUnit",
        "kdl>ShuffleUnitV2",
        "kdl>SmoothL1",
        "kdl>SqueezeExcite",
        "kdl>SqueezeNet",
        "kdl>StripPooling",
        "kdl>SwitchableNormalization",
        "kdl>SyncBatchNormalization",
        "kdl>TripletLoss",
        "kdl>VocMeanAveragePrecision",
        "kdl>WarmUpCosine",
        "kdl>ciou_loss",
        "kdl>diou_loss",
        "kdl>focal_loss",
        "kdl>giou_loss",
        "kdl>hard_negative_mining",
        "kdl>jaccard_loss",
        "kdl>label_smoothing_crossentropy",
        "kdl>lovasz_hinge",
        "kdl>lovasz_softmax",
        "kdl>mixup_crossentropy",
        "kdl>repulsion_loss",
        "kdl>smooth_l1",
        "kdl>triplet_loss",
    ]


def test_unknown_room():
    with pytest.raises(AttributeError, match="has no attribute 'attic'"):
        kdl.attic  # noqa: B018
    assert "layers" in dir(kdl)
    with pytest.raises(AttributeError, match=r"'kdl\.deploy' has no attribute 'attic'"):
        kdl.deploy.attic  # noqa: B018


def loaded_after(*stages):
    """Lists of the modules that a new process has after each stage of its code."""
    code = "import sys\n" + "\n".join(f"{stage}\nprint(*sys.modules)" for stage in stages)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return [set(line.split()) for line in done.stdout.splitlines()]


OTHERS = {"tensorflow", "jax", "torch", "ai_edge_litert"}


def test_import_alone_loads_no_backend():
    kdl_alone, packages = loaded_after("import kdl", "import kdl.deploy, kdl.data")
    assert not kdl_alone & {"keras", "tensorflow", "jax", "torch", "numpy"}
    assert not packages & {"keras", *OTHERS}


@pytest.mark.long_to_compile
@pytest.mark.every_backend
def test_import_after_keras_loads_kdl_alone():
    """No package that Keras does not load itself; `python -m benchmarks imports` measures."""
    model = "kdl.applications.SqueezeNet(input_shape=(32, 32, 3), classes=3)"
    keras_alone, with_kdl, at_work = loaded_after(
        "import keras", "import kdl", f"import kdl.deploy, kdl.data, kdl.testing; {model}"
    )
    packages = {name.split(".")[0] for name in with_kdl - keras_alone}
    assert packages - set(sys.stdlib_module_names) == {"kdl"}
    assert at_work & OTHERS == keras_alone & OTHERS
