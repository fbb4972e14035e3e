"""One place reads a decision's vector, whichever way its event says it."""

import struct
from pathlib import Path

import duckdb
import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fraud_assets.contracts.events import Decision
from fraud_assets.stores.lake import Lake
from fraud_assets.stores.schemas import LogPosition, from_events
from fraud_assets.stores.served import BadVector, served_vector
from tests.contracts.test_chain import decision

FEATURES = st.lists(st.floats(width=32, allow_infinity=False) | st.none(), min_size=1)


def packed(features: list[float | None]) -> bytes:
    return struct.pack(f"<{len(features)}f", *(float("nan") if value is None else value for value in features))


@given(FEATURES)
def test_numbers_and_bytes_give_the_same_vector(features: list[float | None]) -> None:
    numbers = served_vector(decision(1, vector=None, features=features))
    bits = served_vector(decision(1, vector=packed(features)))

    assert numbers.dtype == bits.dtype == np.float32
    assert numbers.shape == bits.shape == (len(features),)
    assert np.array_equal(numbers, bits, equal_nan=True)
    assert np.array_equal(np.signbit(numbers[~np.isnan(numbers)]), np.signbit(bits[~np.isnan(bits)]))


@pytest.mark.parametrize(
    ("says", "given"),
    [
        ("7 bytes are no float32 numbers", {"vector": bytes(7)}),
        ("an infinite number among 1", {"vector": struct.pack("<f", float("inf"))}),
        ("an infinite number among 2", {"features": [1.0, 1e300]}),
        ("and not both", {"features": [1.0], "vector": bytes(4)}),
        ("must be given", {}),
    ],
)
def test_what_is_no_vector_is_refused_and_says_why(says: str, given: dict[str, object]) -> None:
    with pytest.raises(BadVector, match=says):
        served_vector(decision(1, **{"features": [], "vector": None, **given}))


def test_a_notebook_reads_vectors_by_sql_and_a_line_of_numpy(root: Path, tmp_path: Path) -> None:
    """The lines of the documentation, as they are, over files of before and of today."""
    page = (root / "docs" / "scorer.md").read_text().splitlines()
    lines = [line.strip() for line in page if line.startswith(("    rows = duckdb", "    vectors = np."))]
    rows = np.array([[1.5, np.nan, -0.0], [1 / 3, 7, 1e-40]], np.float32)
    made = [decision(place, vector=row.tobytes()) for place, row in enumerate(rows)]
    before = msgspec.structs.replace(made[0], vector=None, features=[1.0])
    lake, at = Lake(tmp_path), [LogPosition(5, "decisions.v1", 0, place) for place in range(2)]
    lake.append("decisions", from_events(Decision, made, at), "made")
    old = from_events(Decision, [before], at[:1]).drop_columns(["vector"])
    Lake(tmp_path, {"decisions": old.schema}).append("decisions", old, "before")

    known = {"duckdb": duckdb, "np": np}
    exec("\n".join(lines).replace("var/lake", str(tmp_path)), known)

    assert len(lines) == 2
    assert np.asarray(known["vectors"]).tobytes() == rows.tobytes()
