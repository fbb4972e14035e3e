"""Compiled hashes of identifiers are those of the standard library's BLAKE2b."""

import pyarrow as pa
from hypothesis import example, given
from hypothesis import strategies as st

from fraud_assets.engine.prepare import hash64
from fraud_assets.stores.frames import hashes

KINDS = st.sampled_from([pa.string(), pa.large_string(), pa.string_view()])


@given(st.lists(st.text(max_size=300), max_size=20), st.integers(0, 3), KINDS)
@example(["", "a" * 127, "b" * 128, "c" * 129, "d" * 256, "e" * 257, "é" * 64], 0, pa.string())
def test_texts_of_any_length_hash_as_one_by_one(texts: list[str], left_out: int, kind: pa.DataType) -> None:
    found = hashes(pa.array(texts, kind).slice(left_out))

    assert found.tolist() == [hash64(text) for text in texts[left_out:]]
