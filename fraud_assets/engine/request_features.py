"""Request features compiled: one function that fills them in for the requests of a moment, and one for a million.

The declared functions are joined into a module of plain calls, in declared order, so that the
machine code a single request runs is the code a training set runs.
"""

import hashlib
import importlib.util
import os
import sys
from collections.abc import Callable
from types import ModuleType

from fraud_assets.engine.jit import cache_folder, kernel, request_kernel
from fraud_assets.engine.plan import ServicePlan
from fraud_assets.engine.read_kernels import read_positions, read_request
from fraud_assets.features.digests import request_digest
from fraud_assets.features.language import RequestFeature
from fraud_assets.features.sources import Kind


def compiled_answers(plan: ServicePlan) -> Callable[..., None]:
    """`answer(*program, raw, starts, stops, places, times, ids, *scratch, values, fields, features, …)`, request after request.

    program: a ReadProgram. raw, starts, stops, places (n, n_groups): states as `read_request` takes them. times, ids (n,): when,
    and hash of what is scored. fields (n, n_fields) float64. Written: features (n, n_features) float32, status, ages
    (n, n_units), found (2, n): whether a state holds the id, and the group whose state is torn or -1; of a torn request
    nothing else is. positions, ends: of the states, as `read_positions` writes them.
    """
    return _module(plan).answer  # generated below


def compiled_assembly(plan: ServicePlan) -> Callable[..., None]:
    """`assemble(fields, wide, wide_slots, slots, columns, values, features)`, row after row.

    fields: (n, n_fields) float64 of the scored events. wide: (n, n_wide) float64 with its slots. For
    each row the value vector is filled, request features are computed, and the values of `slots` are
    written to `columns` of features (n, n_features) float32. values: scratch.
    """
    return _module(plan).assemble  # generated below


def _module(plan: ServicePlan) -> ModuleType:
    """The generated module. Its file is named by its digest, so that its machine code can be kept.

    The digest is of the code alone: services with the same request features share it, whatever they read.
    """
    code = [_source(plan), *(request_digest(item) for item in plan.service.request)]
    name = f"request_features_{hashlib.sha256(''.join(code).encode()).hexdigest()[:16]}"
    if name not in sys.modules:
        functions = {f"f{place}": request_kernel(item.compute) for place, item in enumerate(plan.service.request)}
        sys.modules[name] = _load(name, _source(plan), functions)
    return sys.modules[name]


def _load(name: str, source: str, functions: dict[str, Callable[..., float]]) -> ModuleType:
    path = cache_folder() / f"{name}.py"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_name(f"{name}.{os.getpid()}.tmp")
        draft.write_text(source)
        draft.replace(path)
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    module.__dict__.update(functions, kernel=kernel, read_request=read_request, read_positions=read_positions)
    spec.loader.exec_module(module)
    return module


_ASSEMBLE = """@kernel
def assemble(fields, wide, wide_slots, slots, columns, values, features):
    for i in range(len(fields)):
        for k in range(fields.shape[1]):
            values[k] = fields[i, k]
        for k in range(len(wide_slots)):
            values[wide_slots[k]] = wide[i, k]
        evaluate(values)
        for k in range(len(slots)):
            features[i, columns[k]] = values[slots[k]]
"""


_ANSWER = """@kernel
def answer(
    code, spans, raw, starts, stops, places, times, ids, head, tile, merged, scratch, newest, values, fields,
    features, status, ages, found, positions, ends,
):
    read_positions(raw, starts, stops, head, positions, ends)
    for i in range(len(times)):
        for k in range(fields.shape[1]):
            values[k] = fields[i, k]
        included, torn, served = read_request(
            code, spans, raw, starts, stops, places[i], times[i], ids[i], head, tile, merged, scratch, newest, values,
            status[i], ages[i],
        )
        found[0, i], found[1, i] = included, torn
        if torn >= 0:
            continue
        evaluate(values)
        for k in range(features.shape[1]):
            features[i, k] = values[code[served + 1 + k]]
"""


def _source(plan: ServicePlan) -> str:
    """Every declared function called in order; a result that is not finite is null.

    What picks by a category's code has no answer where a row has none, which the contract rules out and a stranger's file does
    not: the function is not asked, and its value is null.
    """
    calls = []
    for place, item in enumerate(plan.service.request):
        arguments = ", ".join(f"v[{plan.slots[name]}]" for name in item.inputs)
        asked = " and ".join(f"v[{plan.slots[name]}] == v[{plan.slots[name]}]" for name in _codes(plan, item))
        call = f"f{place}({arguments})" + (f" if {asked} else math.nan" if asked else "")
        calls.append(f"    x = {call}\n    v[{plan.slots[item.name]}] = x if math.isfinite(x) else math.nan")
    body = "\n".join(calls) or "    pass"
    return f"import math\n\n\n@kernel\ndef evaluate(v):\n{body}\n\n\n{_ASSEMBLE}\n\n{_ANSWER}"


def _codes(plan: ServicePlan, item: RequestFeature) -> list[str]:
    """Inputs of a feature that are a category which the contract requires."""
    fields = plan.service.scored.fields
    read = {name: fields.get(name.removeprefix("request.")) for name in item.inputs if name.startswith("request.")}
    return [name for name, field in read.items() if field and field.kind is Kind.CATEGORY and not field.nullable]
