from kdl.compression import KeptFloat, QuantizationReport


def test_a_line_for_each_that_stays_float():
    kept = KeptFloat("norm", "LayerNormalization", "no int8 form is known")
    report = QuantizationReport(["conv", "relu"], [kept], [])
    assert not report.complete
    assert str(report).splitlines() == [
        "2 of 3 operations are quantized.",
        "norm (LayerNormalization) stays float: no int8 form is known",
    ]
    assert QuantizationReport(["conv"], [], []).complete
