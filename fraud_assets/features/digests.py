"""Content digests of declarations.

A digest is a SHA-256 over what a declaration means: names, kinds, expressions, windows with their
tiles, and the source text of request features with every function they call. Owner and
description are left out, so they can be edited without retraining a model.
"""

import ast
import dataclasses
import enum
import hashlib
import inspect
import json
import sys
import textwrap
import types
from collections.abc import Callable, Iterator

from fraud_assets.features.expressions import Binary, Circular, Col, Expr, Lit
from fraud_assets.features.language import Aggregate, FeatureView, RequestFeature
from fraud_assets.features.sources import Entity, Source
from fraud_assets.features.windows import Window

# Raised when the engine changes what a declaration means, so that old models and states refuse.
SEMANTICS_VERSION = 1


def view_digest(view: FeatureView) -> str:
    """Content digest of a view, owner and description left out."""
    return digest_of(["view", SEMANTICS_VERSION, _meaning(view)])


def request_digest(item: RequestFeature) -> str:
    return digest_of(
        ["request", SEMANTICS_VERSION, item.name, list(item.inputs), item.hidden, sorted(_code(item.compute).items())]
    )


def digest_of(meaning: object) -> str:
    return hashlib.sha256(json.dumps(meaning, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


_NO_MEANING = frozenset({"owner", "description", "resolved"})


def _meaning(item: object) -> object:
    """A declaration as JSON-able data that changes exactly when its meaning does."""
    match item:
        case Source():
            return [type(item).__name__, item.name, item.table, item.topic, item.id_field, item.time_field, item.contract_shape,
                    getattr(item, "sign_field", None)]  # fmt: skip
        case Window():
            return ["window", item.length_ms, item.tile_ms]
        case Col() | Lit() | Binary() | Circular():
            return [type(item).__name__, *(_meaning(getattr(item, f.name)) for f in dataclasses.fields(item))]
        case FeatureView():
            fields = [
                f.name
                for f in dataclasses.fields(item)
                if f.name not in _NO_MEANING and f.name not in ("aggregates", "source")
            ]
            return [
                *([name, _meaning(getattr(item, name))] for name in fields),
                [_meaning(part) for part in item.resolved],
            ]
        case Aggregate() | Entity():
            return [type(item).__name__, *([f.name, _meaning(getattr(item, f.name))] for f in dataclasses.fields(item))]
        case Expr():
            raise TypeError(f"{type(item).__name__} is no expression node the registry knows.")
        case enum.Enum():
            return item.value
        case tuple():
            return [_meaning(part) for part in item]
        case None | bool() | int() | str():
            return item
        case _:
            raise TypeError(f"A declaration holds a {type(item).__name__}, which has no digest. Use frozen data.")


def _code(function: Callable[..., object]) -> dict[str, object]:
    """Normalised source of a function and of everything of ours it calls, by qualified name."""
    seen: dict[str, object] = {}
    queue: list[Callable[..., object]] = [function]
    while queue:
        plain = _plain(queue.pop())
        assert plain is not None  # only functions are queued, and a declared one was checked
        key = f"{plain.__module__}.{plain.__qualname__}"
        if key in seen:
            continue
        seen[key] = _normalised(plain)
        for name, used in _used(plain):
            if callable(used) and _plain(used) is not None:
                queue.append(used)
            elif _is_constant(used):
                seen[f"{key}:{name}"] = repr(used)
    return seen


def _plain(item: Callable[..., object]) -> types.FunctionType | None:
    """The Python function behind a function or a compiled one."""
    found = getattr(item, "py_func", item)
    return found if isinstance(found, types.FunctionType) else None


def _is_constant(item: object) -> bool:
    if isinstance(item, tuple):
        return all(_is_constant(part) for part in item)
    return isinstance(item, int | float | str)


def _used(function: types.FunctionType) -> Iterator[tuple[str, object]]:
    """What a function's value may depend on beside its arguments.

    Globals, attributes of modules (`geo.haversine_km(…)`; the standard library's do not change
    meaning), closure and defaults.
    """
    names = list(_names(function.__code__))
    for name in names:
        found = function.__globals__.get(name)
        yield name, found
        if inspect.ismodule(found) and found.__name__.split(".")[0] not in sys.stdlib_module_names:
            yield from ((f"{name}.{attribute}", getattr(found, attribute, None)) for attribute in names)
    yield from inspect.getclosurevars(function).nonlocals.items()
    yield "defaults", function.__defaults__ or ()


def _names(code: types.CodeType) -> Iterator[str]:
    """Global and attribute names of a function, comprehensions inside it included."""
    yield from code.co_names
    for inner in code.co_consts:
        if isinstance(inner, types.CodeType):
            yield from _names(inner)


def _normalised(function: types.FunctionType) -> str:
    """Syntax tree without positions, docstring, decorators and annotations: format does not count."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    node = next(node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))
    node.decorator_list, node.returns = [], None
    for part in ast.walk(node.args):
        if isinstance(part, ast.arg):
            part.annotation = None
    if ast.get_docstring(node) is not None:
        node.body = node.body[1:]
    return ast.dump(node, annotate_fields=False)
