"""Multiply-adds counted by `kdl.applications.macs`, for models whose reference tells none."""

COUNTED_MACS = {
    "mobilenet_v3_large_a1_0": 216_589_760,  # torchvision tells three digits, 217e6
    "mobilenet_v3_small_a1_0": 56_510_400,  # and 57e6
    "shufflenet_x0_25_g1": 11_003_184,
    "shufflenet_x0_25_g2": 11_964_312,
    "shufflenet_x0_25_g3": 11_009_808,
    "shufflenet_x0_25_g4": 13_019_056,
    "shufflenet_x0_25_g8": 12_426_240,
    "shufflenet_x0_5_g1": 38_517_408,
    "shufflenet_x0_5_g2": 38_914_784,
    "shufflenet_x0_5_g4": 37_943_936,
    "shufflenet_x1_0_g1": 143_078_976,
    "shufflenet_x1_0_g2": 140_836_512,
    "shufflenet_x1_0_g4": 134_339_776,
    "shufflenet_x1_5_g1": 313_684_704,
    "shufflenet_x1_5_g2": 309_765_152,
    "shufflenet_x1_5_g3": 299_612_448,
    "shufflenet_x1_5_g4": 294_882_496,
    "shufflenet_x2_0_g1": 550_334_592,
    "shufflenet_x2_0_g2": 539_138_624,
    "shufflenet_x2_0_g4": 510_289_536,
    "se_shufflenet_v2_164": 12_541_354_352,
    "squeezenet1_0_complex": 1_165_298_720,
    "squeezenet1_1_complex": 447_660_736,
    "se_inception": 2_033_239_424,
}
