"""The floors of the house: a room imports from rooms below it only."""

import ast
import operator
import subprocess
import sys

import keras
import pytest

import kdl

FLOORS = {
    "_compat": 0,
    "ops": 1,
    "layers": 2,
    "losses": 2,
    "metrics": 2,
    "data": 2,
    "applications": 3,
    "training": 3,
    "compression": 4,
    "ensembles": 4,
    "segmentation": 4,
    "deploy": 5,
    "cli": 6,
    "__main__": 7,
}
FREE = ("testing", "__init__", "_registration")


def rooms_imported(path):
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module]
        for name in names:
            parts = name.split(".")
            if parts[0] == "kdl" and len(parts) > 1:
                yield parts[1]


def test_rooms_import_from_below_only(root):
    seen = 0
    for path in (root / "kdl").rglob("*.py"):
        room = path.relative_to(root / "kdl").parts[0].removesuffix(".py")
        if room in FREE:
            continue
        for other in rooms_imported(path):
            seen += 1
            assert other == room or FLOORS[other] < FLOORS[room], f"{path} imports kdl.{other}"
    assert seen > 20


def test_no_private_keras(root):
    for folder in ("kdl", "tests", "examples", "benchmarks"):
        for path in (root / folder).rglob("*.py"):
            known = path.name in ("_compat.py", "test_house.py")
            assert known or "keras.src" not in path.read_text(), path


PUBLIC = {
    "applications": [
        "MobileNet",
        "MobileNetV2",
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
        "ImageFolder",
        "InputSpec",
        "Mixup",
        "ModelInfo",
        "PKSampler",
        "RandomShift",
        "digits",
        "read_image_folder",
        "read_model_info",
        "write_model_info",
    ],
    "deploy": [
        "Answer",
        "Benchmark",
        "DeviceReport",
        "DeviceRun",
        "ExportError",
        "Gates",
        "Latency",
        "OperationTime",
        "OperationVerdict",
        "Rewrite",
        "Runner",
        "TFLiteFile",
        "TFLiteRunner",
        "Verification",
        "benchmark",
        "check",
        "export_tflite",
        "measure_latency",
        "plot_benchmarks",
        "read_tflite",
        "rewrite_for",
        "verify_tflite",
        "warm_converter",
        "write_metadata",
        "write_sidecar",
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
        "FocalLoss",
        "HardNegativeMining",
        "JaccardLoss",
        "LabelSmoothingCrossentropy",
        "LovaszHinge",
        "LovaszSoftmax",
        "MixupCrossentropy",
        "RepulsionLoss",
        "TripletLoss",
        "focal_loss",
        "hard_negative_mining",
        "jaccard_loss",
        "label_smoothing_crossentropy",
        "lovasz_hinge",
        "lovasz_softmax",
        "mixup_crossentropy",
        "repulsion_loss",
        "repulsion_terms",
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
        "box_area",
        "box_intersection",
        "box_iog",
        "box_iou",
        "channel_shuffle",
        "channel_split",
        "conv",
        "decode_boxes",
        "depthwise_conv",
        "encode_boxes",
        "fake_quantize",
        "fake_quantize_weights",
        "fused_batch_norm",
        "grouped_conv",
        "has_replicas",
        "lowering_scope",
        "max_pool",
        "mobile_gpu_safe",
        "pairwise_distances",
        "replica_moments",
        "replica_number",
        "replica_sum",
        "resize_align_corners",
        "weight_steps",
    ],
    "segmentation": ["SPNet", "SPNet101", "SPNet50"],
    "testing": ["run_export_test", "run_layer_test", "run_loss_test", "run_model_test"],
    "training": [
        "Backup",
        "ClassifierRun",
        "DropPathSchedule",
        "HostEvaluation",
        "WarmUpCosine",
        "distribute",
        "launch",
        "launches_processes",
        "plot_confusion_matrix",
        "plot_history",
        "recalibrate",
        "save_portable",
    ],
}


@pytest.mark.parametrize("room", PUBLIC)
def test_public_names_are_frozen(room):
    module = operator.attrgetter(room)(kdl)
    names = [
        name
        for name in dir(module)
        if not name.startswith("_")
        and getattr(getattr(module, name), "__module__", "").startswith("kdl.")
    ]
    assert sorted(names) == PUBLIC[room]
    assert all(getattr(module, name).__doc__ for name in names)


def test_registered_names_are_frozen():
    ours = [name for name in keras.saving.get_custom_objects() if name.startswith("kdl>")]
    assert sorted(ours) == [
        "kdl>ActiveTriplets",
        "kdl>AveragePooling2D",
        "kdl>BatchNormalization",
        "kdl>CentralizedConv2D",
        "kdl>ChannelShuffle",
        "kdl>CocoMeanAveragePrecision",
        "kdl>ConstantSparsity",
        "kdl>ContextIdentity",
        "kdl>Conv2D",
        "kdl>CoupledLSTM",
        "kdl>CoupledLSTMCell",
        "kdl>DepthwiseConv2D",
        "kdl>DilatedContext",
        "kdl>Distillation",
        "kdl>EmbeddingCollapse",
        "kdl>ExpectedCalibrationError",
        "kdl>FactorizedReduction",
        "kdl>FakeQuantize",
        "kdl>FireModule",
        "kdl>FocalLoss",
        "kdl>GroupedConv2D",
        "kdl>HardNegativeMining",
        "kdl>InceptionBlock",
        "kdl>InvertedResidual",
        "kdl>JaccardIndex",
        "kdl>JaccardLoss",
        "kdl>LabelSmoothingCrossentropy",
        "kdl>LogAverageMissRate",
        "kdl>LovaszHinge",
        "kdl>LovaszSoftmax",
        "kdl>MaxPooling2D",
        "kdl>MeanIoU",
        "kdl>MixedPooling",
        "kdl>MixupAccuracy",
        "kdl>MixupCrossentropy",
        "kdl>MobileNet",
        "kdl>MobileNetV2",
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
        "kdl>RepulsionLoss",
        "kdl>Res2Net",
        "kdl>Res2NetBlock",
        "kdl>ResNeXt",
        "kdl>ResNeXtBlock",
        "kdl>ResNet",
        "kdl>RetrievalMetrics",
        "kdl>SCNet",
        "kdl>SEInception",
        "kdl>SEResNet",
        "kdl>SPNet",
        "kdl>ScheduledDropPath",
        "kdl>SelfCalibratedBlock",
        "kdl>SelfCalibratedConv2D",
        "kdl>SeparableBlock",
        "kdl>ShuffleNet",
        "kdl>ShuffleNetV2",
        "kdl>ShuffleUnit",
        "kdl>ShuffleUnitV2",
        "kdl>SqueezeExcite",
        "kdl>SqueezeNet",
        "kdl>StripPooling",
        "kdl>SwitchableNormalization",
        "kdl>SyncBatchNormalization",
        "kdl>TripletLoss",
        "kdl>VocMeanAveragePrecision",
        "kdl>WarmUpCosine",
        "kdl>focal_loss",
        "kdl>hard_negative_mining",
        "kdl>jaccard_loss",
        "kdl>label_smoothing_crossentropy",
        "kdl>lovasz_hinge",
        "kdl>lovasz_softmax",
        "kdl>mixup_crossentropy",
        "kdl>repulsion_loss",
        "kdl>triplet_loss",
    ]


def test_unknown_room():
    with pytest.raises(AttributeError, match="has no attribute 'attic'"):
        kdl.attic  # noqa: B018
    assert "layers" in dir(kdl)
    with pytest.raises(AttributeError, match=r"'kdl\.deploy' has no attribute 'attic'"):
        kdl.deploy.attic  # noqa: B018


def loaded_after(code):
    code += "\nimport sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_import_loads_no_second_backend():
    """kdl adds to what Keras loads nothing but itself; alone it does not even load Keras."""
    assert not loaded_after("import kdl") & {"keras", "tensorflow", "jax", "torch", "numpy"}
    rooms = loaded_after("import kdl.deploy, kdl.data")
    assert not rooms & {"keras", "tensorflow", "jax", "torch", "ai_edge_litert"}
    others = {"tensorflow", "jax", "torch", "ai_edge_litert"}
    rooms = "import keras, kdl, kdl.deploy, kdl.data, kdl.testing"
    assert loaded_after(rooms) & others == loaded_after("import keras") & others


def test_import_is_quick():
    """A ratio, in one process: far below the limit, so that a busy machine does not matter."""
    code = (
        "import time; a = time.perf_counter(); import keras; b = time.perf_counter(); "
        "import kdl; c = time.perf_counter(); print(c - b, b - a)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    ours, keras_own = map(float, done.stdout.split())
    assert ours < 0.1 * keras_own
