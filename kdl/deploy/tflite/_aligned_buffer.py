"""Constants of a `.tflite` file where devices read them."""

import numpy as np

from kdl.deploy.tflite.file import tflite_schema

# TFLite lets constants lie at such addresses only, so that CPUs read them at full speed.
_ALIGNMENT = 16


class AlignedBuffer:
    """A buffer that begins at a multiple of 16 bytes, which LiteRT's own class does not see to."""

    def __init__(self, data):
        self.data = data

    def Pack(self, builder):
        """Writes it; called by the schema's `ModelT`."""
        schema = tflite_schema()
        place = None
        if self.data is not None:
            data = np.asarray(self.data, "uint8")
            builder.Prep(_ALIGNMENT, len(data))
            place = builder.CreateNumpyVector(data)
        schema.BufferStart(builder)
        if place is not None:
            schema.BufferAddData(builder, place)
        return schema.BufferEnd(builder)
