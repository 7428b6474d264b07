"""Messages of the library in the command's own words: options in place of arguments."""

import re

# Pattern → what stands for it; in this order.
_WORDS = (
    (r"\[Errno -?\d+\] ", ""),
    (r"int8 needs representative_data: [^.]*\.", "int8 needs --data: images as the model will see "
     "them, from which the ranges of the activations are measured."),
    (r"\b(representative_data|verification_data)\b", "--data"),
    (r"^data (was|has|must|holds|is|spans)\b", r"--data \1"),
    (r" The attribute `skipped` lists them all\.", ""),
    (r" Use TFLiteRunner for its arrays\.", ""),
    (r"Say which: task='classifier' or task='segmenter'\.",
     "Say which: --task classifier or --task segmenter."),
    (r"^task must be", "--task must be"),
    (r" input_shapes has them all\.", ""),
    (r"Give them: TFLiteRunner\(path, input_shape=…\), without the batch\.",
     "Export it with a fixed size: kdl export --size …."),
    (r"check without run=True", "check without --run"),
    (r", or overwrite it\b", ", or pass --overwrite"),
    (r"Export it with input_spec=, or pass float arrays of shape [^.]*\.",
     "Export it with: kdl export --mean … --std …."),
    (r"pass input_shape=, for instance input_shape=\([^)]*\)",
     "pass --size, for instance --size 224"),
    (r"\binput_shape=\((\d+), (\d+), \d+\)", r"--size \1x\2"),
    (r"\bquantization=\"?(\w+)\"?", r"--quantization \1"),
    (r"^quantization must be", "--quantization must be"),
    (r"^target must be", "--target must be"),
    (r"kdl\.applications\.list_models\((None)?\) names them all", "kdl list shows them all"),
    (r"No module named '(jax|torch|tensorflow)(\.\w+)*'",
     r"The backend \1 is not installed: pip install \1, or choose another: "
     r"KERAS_BACKEND=tensorflow, jax or torch"),
    (r"Unable to import backend ?: (\S+)",
     r"There is no backend \1: KERAS_BACKEND must be tensorflow, jax or torch"),
)  # fmt: skip


def in_words_of_the_command(message):
    """`message` as the command says it.

    Args:
        message: One line of the library's.

    Example:
        >>> in_words_of_the_command("verification_data must have shape (samples, 4).")
        '--data must have shape (samples, 4).'
    """
    for pattern, words in _WORDS:
        message = re.sub(pattern, words, message)
    return message
