"""Recorded shapes of the contracts, and the rule by which a shape may change.

Backward-transitive: whatever any recorded version of a topic may have written, the contract of today reads, with the
same meaning. So a field may be added if it has a default, a field may get a default, and bounds may widen; nothing
else. A shape is the contract's JSON Schema, in `published/<topic>-<number>.json`.

python -m fraud_assets.contracts.shapes     record what has changed, if the rule allows it
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

PUBLISHED = Path(__file__).parent / "published"

Schema = dict[str, Any]

# (keyword, whether a larger number admits more). An absent bound admits everything.
_BOUNDS = {
    "minimum": False,
    "exclusiveMinimum": False,
    "minLength": False,
    "minItems": False,
    "maximum": True,
    "exclusiveMaximum": True,
    "maxLength": True,
    "maxItems": True,
}
_WORDS = {
    "$ref", "anyOf", "enum", "type", "contentEncoding", "items", "pattern", "properties", "required", "additionalProperties",
}  # fmt: skip
_PROSE = {"title", "description"}


class IncompatibleContract(TypeError):
    """A contract no longer reads what a recorded version of its topic may have written."""


class UnknownShape(ValueError):
    """A schema uses a word that the rule does not know; teach it in `_differences` before it is published."""


def shape_of(contract: type[msgspec.Struct]) -> Schema:
    """JSON Schema of a contract, without a reference at its root and without prose, which binds nobody."""
    schema: Schema = _without_prose(msgspec.json.schema(contract, schema_hook=_schema_of))
    definitions: Schema = schema["$defs"]
    root: Schema = definitions.pop(schema["$ref"].rpartition("/")[2])
    return {**root, "$defs": definitions} if definitions else root


def _schema_of(kind: type) -> Schema:
    """`object` is any value."""
    if kind is object:
        return {"description": "any value"}
    raise NotImplementedError(kind)


def _without_prose(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_without_prose(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    # A field may be called `title` too, but what it holds is no text.
    told = {word: value for word, value in schema.items() if not (word in _PROSE and isinstance(value, str))}
    return {word: _without_prose(value) for word, value in told.items()}


def recorded(topic: str, folder: Path = PUBLISHED) -> list[Schema]:
    """Every published shape of a topic, oldest first."""
    paths = sorted(folder.glob(f"{topic}-*.json"), key=lambda path: int(path.stem.rpartition("-")[2]))
    return [msgspec.json.decode(path.read_bytes()) for path in paths]


def check_compatible(topic: str, contract: type[msgspec.Struct], folder: Path = PUBLISHED) -> None:
    """Raises IncompatibleContract, which names every field and version."""
    reader = shape_of(contract)
    faults = [
        f"{difference} (version {number})"
        for number, writer in enumerate(recorded(topic, folder), start=1)
        for difference in differences(reader, writer)
    ]
    if faults:
        raise IncompatibleContract(
            f"IncompatibleContract: {topic} would refuse or change events of a recorded version: {'; '.join(faults)}."
            " Give a new field a default, or declare a new topic beside this one (contracts/topics.py)."
        )


def differences(reader: Schema, writer: Schema) -> list[str]:
    """What `writer` may write and `reader` would refuse or read as something else; empty if nothing."""
    return list(_differences(_Side(reader), _Side(writer), reader, writer, ""))


class _Side:
    """One schema and its definitions."""

    def __init__(self, root: Schema) -> None:
        self._definitions: Schema = root.get("$defs", {})

    def alternatives(self, schema: Schema) -> list[Schema]:
        """References followed, `anyOf` laid flat."""
        strange = set(schema) - _WORDS - _BOUNDS.keys() - {"default", "$defs"}
        if strange:
            raise UnknownShape(f"UnknownShape: {', '.join(sorted(strange))}")
        if "$ref" in schema:
            return self.alternatives(self._definitions[schema["$ref"].rpartition("/")[2]])
        if "anyOf" in schema:
            return [one for part in schema["anyOf"] for one in self.alternatives(part)]
        return [schema]


def _differences(mine: _Side, theirs: _Side, reader: Schema, writer: Schema, at: str) -> Iterator[str]:
    """Each thing that may be written must be read by one alternative; the closest one says why not."""
    for written in theirs.alternatives(writer):
        tried = [list(_of_one(mine, theirs, known, written, at)) for known in mine.alternatives(reader)]
        yield from min(tried, key=len)


def _of_one(mine: _Side, theirs: _Side, known: Schema, written: Schema, at: str) -> Iterator[str]:
    name = at or "the event"
    kind = written.get("type", _type_of_enum(written))
    if known.get("type", kind) not in (kind, "number" if kind == "integer" else kind):
        yield f"{name}: {known['type']}, was {kind or 'anything'}"
        return
    encoding, was = known.get("contentEncoding", "none"), written.get("contentEncoding", "none")
    if encoding != was:  # text that happens to be base64 would be read, as something else
        yield f"{name}: contentEncoding {encoding}, was {was}"
    if "enum" in known:
        gone = [value for value in written.get("enum", ["anything"]) if value not in known["enum"]]
        if gone:
            yield f"{name}: no longer {', '.join(map(str, gone))}"
    for word, larger_is_wider in _BOUNDS.items():
        new, old = known.get(word), written.get(word)
        if new is not None and (old is None or (new < old if larger_is_wider else new > old)):
            yield f"{name}: {word} {new}, was {'none' if old is None else old}"
    if "pattern" in known and known["pattern"] != written.get("pattern"):
        yield f"{name}: pattern {known['pattern']}, was {written.get('pattern', 'none')}"
    if "items" in known:
        yield from _differences(mine, theirs, known["items"], written.get("items", {}), f"{name}[]")
    yield from _of_fields(mine, theirs, known, written, at)


def _type_of_enum(written: Schema) -> str | None:
    values = written.get("enum", [])
    return "string" if values and all(isinstance(value, str) for value in values) else None


def _of_fields(mine: _Side, theirs: _Side, known: Schema, written: Schema, at: str) -> Iterator[str]:
    fields, before = known.get("properties", {}), written.get("properties", {})
    prefix = f"{at}." if at else ""
    extra = known.get("additionalProperties")
    for name in before.keys() - fields.keys():
        if extra is False:
            yield f"{prefix}{name}: is gone"
    for name in sorted(set(known.get("required", [])) - set(written.get("required", []))):
        yield f"{prefix}{name}: must be given, and was {'optional' if name in before else 'not there'}"
    for name in sorted(before.keys() & fields.keys()):
        yield from _differences(mine, theirs, fields[name], before[name], f"{prefix}{name}")
        was, now = before[name], fields[name]
        if "default" in was and "default" in now and was["default"] != now["default"]:
            yield f"{prefix}{name}: default {now['default']!r}, was {was['default']!r}"
    if isinstance(extra, dict):
        old = written.get("additionalProperties", {})
        yield from _differences(mine, theirs, extra, old if isinstance(old, dict) else {}, f"{prefix}*")


def record(topic: str, contract: type[msgspec.Struct], folder: Path = PUBLISHED) -> Path | None:
    """Write down the shape of today if it is new. Raises IncompatibleContract, having written nothing."""
    check_compatible(topic, contract, folder)
    known, shape = recorded(topic, folder), shape_of(contract)
    if known and known[-1] == shape:
        return None
    path = folder / f"{topic}-{len(known) + 1}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(msgspec.json.format(msgspec.json.encode(shape, order="sorted"), indent=1) + b"\n")
    return path


def main() -> int:
    from fraud_assets.contracts.topics import DECIDED_TOPICS, RAW_TOPICS

    for topic in (*RAW_TOPICS, *DECIDED_TOPICS):
        assert topic.contract is not None
        path = record(topic.name, topic.contract)
        if path is not None:
            sys.stdout.write(f"{topic.name}: recorded as {path.name}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
