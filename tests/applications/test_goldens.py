"""With a reference's weights a network gives its logits, at every size of the golden file.

On PyTorch all are compared, most in the long tests. On TensorFlow and JAX, which compile each
network for each size, large ones are compared with `--every-model` only, and the others at
one size; what they are made of is tested in `tests/layers` on all three.
"""

import keras
import numpy as np
import pytest
from golden import stand_in

from kdl.applications import create_model, load_torch_weights

# Golden file → name in the registry, and arguments by which the reference differs.
NETWORKS = {
    "legacy_senet154": ("senet154", {}),
    "legacy_seresnet50": ("se_resnet50", {}),
    "legacy_seresnext50_32x4d": ("se_resnext50_32x4d", {}),
    "mobilenet_v2": ("mobilenet_v2_a1_0", {}),
    "mobilenetv1_100": ("mobilenet_a1_0", {}),
    "mobilenetv2_140": ("mobilenet_v2_a1_4", {}),
    "nasnetalarge": ("nasnet_large", {"lineage": "timm"}),
    "res2net50_26w_4s": ("res2net50_26w_4s", {}),
    "res2net50_48w_2s": ("res2net50_48w_2s", {}),
    "res2net50_v1b_26w_4s": ("res2net50_v1b_26w_4s", {}),
    "res2next50": ("res2next50", {}),
    "resnext50_32x4d": ("resnext50_32x4d", {}),
    "scnet50": ("scnet50", {}),
    "scnet50_v1d": ("scnet50_v1d", {}),
    "shufflenet_v1_x0_5_g8": ("shufflenet_x0_5_g8", {"variant": "megvii"}),
    "shufflenet_v1_x1_0_g3": ("shufflenet_x1_0_g3", {"variant": "megvii"}),
    "shufflenet_v2_x1_0": ("shufflenet_v2_x1_0", {}),
    "shufflenet_v2_x2_0": ("shufflenet_v2_x2_0", {}),
    "squeezenet1_0": ("squeezenet1_0", {}),
}

# One or two of each family, at the size where windows do not fill the image.
BRIEF = {
    "legacy_seresnet50",
    "mobilenet_v2",
    "mobilenetv1_100",
    "res2net50_26w_4s",
    "resnext50_32x4d",
    "scnet50_v1d",
    "shufflenet_v1_x1_0_g3",
    "shufflenet_v2_x1_0",
    "squeezenet1_0",
}

# Where networks are compiled, the others are among the long tests.
FIRST = {"shufflenet_v2_x1_0", "squeezenet1_0"}


def pytest_generate_tests(metafunc):
    if "golden" in metafunc.fixturenames:
        every = metafunc.config.getoption("--every-model") or keras.backend.backend() == "torch"
        others = sorted(NETWORKS.keys() - BRIEF) if every else []
        long = [pytest.param(name, marks=pytest.mark.long) for name in others]
        marks = pytest.mark.long_to_compile
        brief = [pytest.param(x, marks=() if x in FIRST else marks) for x in sorted(BRIEF)]
        metafunc.parametrize("golden", [*brief, *long])


def outputs_of(model, x):
    """Compiled as one on JAX, which else compiles each operation; TensorFlow takes longer so."""
    if keras.backend.backend() == "jax":
        return model.predict(x, verbose=0)
    return keras.ops.convert_to_numpy(model(x, training=False))


@pytest.mark.every_backend
def test_outputs_match_the_reference(golden, request):
    name, arguments = NETWORKS[golden]
    every = request.config.getoption("--every-model") or keras.backend.backend() == "torch"
    state, outputs = stand_in.load(golden)
    for size in outputs if every else [max(outputs)]:
        model = create_model(
            name, input_shape=(size, size, 3), classifier_activation=None, **arguments
        )
        load_torch_weights(model, state)
        logits = outputs_of(model, stand_in.image(size))
        error = np.abs(logits - outputs[size]).max() / outputs[size].std()
        print(f"{golden}, {size}²: {error:.1e}")
        assert error <= 1e-4
