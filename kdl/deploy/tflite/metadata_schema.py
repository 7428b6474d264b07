"""TensorFlow Lite's description of a model, schema "M001", as bytes and as dictionaries.

A table is a dictionary of its fields; a member of a union is a pair `(table, dictionary)`.

Source: `metadata_schema.fbs` of TensorFlow Lite Support and MediaPipe.
"""

import flatbuffers
import numpy as np
from flatbuffers.number_types import Float32Flags, Int8Flags, Uint8Flags, Uint32Flags

from kdl.deploy.tflite.validation import CountedBytes

IDENTIFIER = b"M001"
TENSOR_AXIS_LABELS = 2
TENSOR_VALUE_LABELS = 3
COLOR_SPACES = {"UNKNOWN": 0, "RGB": 1, "GRAYSCALE": 2}

_FEATURE, _IMAGE = "FeatureProperties", "ImageProperties"

# The members of a union in the order of the schema, which numbers them from 1.
_UNIONS = {
    "ContentProperties": (_FEATURE, _IMAGE, "BoundingBoxProperties", "AudioProperties"),
    "ProcessUnitOptions": (
        "NormalizationOptions",
        "ScoreCalibrationOptions",
        "ScoreThresholdingOptions",
        "BertTokenizerOptions",
        "SentencePieceTokenizerOptions",
        "RegexTokenizerOptions",
    ),
}

# The fields of a table in the order of the schema, which numbers them, and their types. Tables that
# describe no image classifier are left out, and what stands at the end of a table and is not used.
_TABLES = {
    "ModelMetadata": {
        "name": "string",
        "description": "string",
        "version": "string",
        "subgraph_metadata": "[SubGraphMetadata]",
        "author": "string",
        "license": "string",
        "associated_files": "[AssociatedFile]",
        "min_parser_version": "string",
    },
    "SubGraphMetadata": {
        "name": "string",
        "description": "string",
        "input_tensor_metadata": "[TensorMetadata]",
        "output_tensor_metadata": "[TensorMetadata]",
    },
    "TensorMetadata": {
        "name": "string",
        "description": "string",
        "dimension_names": "[string]",
        "content": "Content",
        "process_units": "[ProcessUnit]",
        "stats": "Stats",
        "associated_files": "[AssociatedFile]",
    },
    "AssociatedFile": {
        "name": "string",
        "description": "string",
        "type": "int8",
        "locale": "string",
    },
    "Content": {"content_properties": "ContentProperties"},
    "ImageProperties": {"color_space": "int8", "default_size": "ImageSize"},
    "ImageSize": {"width": "uint32", "height": "uint32"},
    "FeatureProperties": {},
    "ProcessUnit": {"options": "ProcessUnitOptions"},
    "NormalizationOptions": {"mean": "[float32]", "std": "[float32]"},
    "Stats": {"max": "[float32]", "min": "[float32]"},
}

_SCALARS = {"int8": Int8Flags, "uint32": Uint32Flags}


def pack(metadata):
    """The bytes of a `ModelMetadata` dictionary."""
    builder = flatbuffers.Builder(1024)
    builder.Finish(_write_table(builder, "ModelMetadata", metadata), file_identifier=IDENTIFIER)
    return bytes(builder.Output())


def unpack(content):
    """The `ModelMetadata` dictionary of bytes that `pack`, or another library, has made.

    Raises:
        ValueError: If it is not metadata of this schema.
        Exception: Of nearly any type, if it is damaged.
    """
    content = CountedBytes(content)
    if content[4:8] != IDENTIFIER:
        raise ValueError(f"Expected metadata with the mark M001; received {content[4:8]!r}.")
    start = flatbuffers.encode.Get(Uint32Flags.packer_type, content, 0)
    return _read_table(flatbuffers.table.Table(content, start), "ModelMetadata")


def _check_length(table, length):
    """Vectors may overlap: together their entries are no more than the bytes that there are."""
    table.Bytes.entries += length
    if table.Bytes.entries > len(table.Bytes):
        raise ValueError("its lists overlap")


def _slots(table):
    """`(field, type, number)` of a table; a union takes two numbers, the first for its member."""
    number = 0
    for field, kind in _TABLES[table].items():
        yield field, kind, number
        number += 2 if kind in _UNIONS else 1


def _write_table(builder, table, fields):
    unknown = sorted(set(fields) - set(_TABLES[table]))
    if unknown:
        raise ValueError(f"{table} has no fields {unknown}.")
    used = [(kind, number, fields[f]) for f, kind, number in _slots(table) if f in fields]
    # What a table refers to must stand before the table is begun.
    values = [_write(builder, kind, value) for kind, _, value in used]
    builder.StartObject(1 + max((n + (k in _UNIONS) for _, k, n in _slots(table)), default=-1))
    for (kind, number, value), written in zip(used, values, strict=True):
        if kind in _SCALARS:
            builder.PrependSlot(_SCALARS[kind], number, written, 0)
        elif kind in _UNIONS:
            builder.PrependUint8Slot(number, 1 + _UNIONS[kind].index(value[0]), 0)
            builder.PrependUOffsetTRelativeSlot(number + 1, written, 0)
        else:
            builder.PrependUOffsetTRelativeSlot(number, written, 0)
    return builder.EndObject()


def _write(builder, kind, value):
    """A number, or the place of what was written."""
    if kind in _SCALARS:
        return value
    if kind == "string":
        return builder.CreateString(value)
    if kind == "[float32]":
        return builder.CreateNumpyVector(np.asarray(value, "float32"))
    if kind in _UNIONS:
        return _write_table(builder, *value)
    if not kind.startswith("["):
        return _write_table(builder, kind, value)
    places = [_write(builder, kind[1:-1], entry) for entry in value]
    builder.StartVector(4, len(places), 4)
    for place in reversed(places):
        builder.PrependUOffsetTRelative(place)
    return builder.EndVector()


def _read_table(table, name):
    found = {}
    for field, kind, number in _slots(name):
        offset = table.Offset(4 + 2 * number)
        if kind in _UNIONS:
            value = _read_union(table, kind, number)
            if value is not None:
                found[field] = value
        elif offset:
            found[field] = _read(table, kind, table.Pos + offset)
    return found


def _read_union(table, kind, number):
    """`(table, fields)`, or None for a member that is unknown here."""
    member, value = (table.Offset(4 + 2 * n) for n in (number, number + 1))
    if not member or not value:
        return None
    index = table.Get(Uint8Flags, table.Pos + member) - 1
    names = _UNIONS[kind]
    if not 0 <= index < len(names) or names[index] not in _TABLES:
        return None
    place = table.Indirect(table.Pos + value)
    return names[index], _read_table(flatbuffers.table.Table(table.Bytes, place), names[index])


def _read(table, kind, place):
    if kind in _SCALARS:
        return table.Get(_SCALARS[kind], place)
    if kind == "string":
        return table.String(place).decode()
    if not kind.startswith("["):
        return _read_table(flatbuffers.table.Table(table.Bytes, table.Indirect(place)), kind)
    start = table.Vector(place - table.Pos)
    length = table.VectorLen(place - table.Pos)
    _check_length(table, length)
    entries = range(start, start + 4 * length, 4)
    if kind == "[float32]":
        return [table.Get(Float32Flags, entry) for entry in entries]
    return [_read(table, kind[1:-1], entry) for entry in entries]
