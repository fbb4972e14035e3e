"""Between the engine's NumPy and Arrow, both ways. The engine does not know Arrow."""

from collections.abc import Callable, Iterable

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from fraud_assets.engine.hash_kernels import hash_texts
from fraud_assets.engine.kernels import NULL
from fraud_assets.engine.plan import PARTITION_BITS, EnginePlan, Ints
from fraud_assets.engine.prepare import BadValue, Columns, check_range
from fraud_assets.features.sources import Field, Kind, Source

Floats = npt.NDArray[np.float32]


def columns_from_arrow(plan: EnginePlan, source: Source, rows: pa.Table) -> Columns:
    """Columns of a lake table's rows, in the order given. Raises BadValue, naming the field."""
    fields = {name: field_from_arrow(field, rows[name], source) for name, field in source.fields.items()}
    return Columns(
        source,
        fields,
        _integers(rows["ingested_at_ms"]),
        topic_codes(plan, rows["source_topic"], rows["source_partition"]),
        _integers(rows["source_offset"]),
    )


def needed_columns(source: Source) -> list[str]:
    """Lake columns that `columns_from_arrow` reads; asking for no others keeps a scan small."""
    return [*source.fields, "ingested_at_ms", "source_topic", "source_partition", "source_offset"]


def field_from_arrow(field: Field, column: pa.ChunkedArray, source: Source) -> Ints:
    """(n,) int64 codes of one field: hash, lexical rank, 0/1 or the number; NULL where null."""
    match field.kind:
        case Kind.ID:
            return _by_dictionary(column, hashes)
        case Kind.CATEGORY:
            return _by_dictionary(column, lambda texts: _codes(field, texts, source))
        case _:
            found = _integers(column)
            check_range(found, field.name, source)
            return found


def topic_codes(plan: EnginePlan, topics: pa.ChunkedArray, partitions: pa.ChunkedArray) -> Ints:
    """(n,) `EnginePlan.topic_code` of each row."""
    codes = _by_dictionary(
        topics, lambda texts: _integers_of(plan.topic_code(topic, 0) >> PARTITION_BITS for topic in texts.to_pylist())
    )
    return (codes << PARTITION_BITS) | _integers(partitions)


def hashes(texts: pa.Array) -> Ints:
    """(n,) `hash64` of each. texts: of any of Arrow's types of text, none null."""
    texts = texts.cast(pa.string())  # whose ends are 32 bits wide
    _, ends, data = texts.buffers()
    if not len(texts):
        return np.empty(0, np.int64)
    mine = np.frombuffer(ends, np.int32)[texts.offset : texts.offset + len(texts) + 1]
    return hash_texts(mine, np.frombuffer(data or b"", np.uint8))


def _codes(field: Field, texts: pa.StringArray, source: Source) -> Ints:
    return _integers_of(_code(field, text, source) for text in texts.to_pylist())


def _code(field: Field, text: str, source: Source) -> int:
    if text not in field.vocabulary:
        raise BadValue(f"BadValue: {source.name}.{field.name} is {text!r}; known: {', '.join(field.vocabulary)}.")
    return field.code(text)


def _integers_of(values: Iterable[int]) -> Ints:
    return np.fromiter(values, np.int64)


def _by_dictionary(column: pa.ChunkedArray, codes_of: Callable[[pa.StringArray], Ints]) -> Ints:
    """Encode each distinct text once."""
    encoded = pc.dictionary_encode(column.combine_chunks())
    if isinstance(encoded, pa.ChunkedArray):
        encoded = encoded.combine_chunks()
    codes = np.append(codes_of(encoded.dictionary), NULL)
    places: Ints = encoded.indices.fill_null(len(codes) - 1).to_numpy(zero_copy_only=False)
    found: Ints = codes[places]
    return found


def _integers(column: pa.ChunkedArray) -> Ints:
    found: Ints = pc.fill_null(column.cast(pa.int64()), NULL).to_numpy().astype(np.int64, copy=False)
    return found


def to_arrow(names: tuple[str, ...], features: Floats) -> pa.Table:
    """One float32 column a feature; NaN stays NaN, as the model sees it."""
    columns = np.ascontiguousarray(features.T)
    return pa.table([pa.array(column) for column in columns], names=list(names))
