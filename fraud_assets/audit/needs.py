"""Which fields a feature cannot do without: where one of them is absent, it is null or counts nothing."""

from dataclasses import replace

from fraud_assets.engine.plan import ServicePlan
from fraud_assets.features.expressions import OR_ELSE, Binary, Circular, Col, Expr
from fraud_assets.features.language import RequestFeature
from fraud_assets.features.layout import Input, Unit
from fraud_assets.features.sources import Source

Fields = frozenset[str]
EITHER = (OR_ELSE, "|")


def needs_of(plan: ServicePlan) -> dict[str, Fields]:
    """Of each feature, hidden ones included: fields of what is scored, and names of the other sources."""
    service = plan.service
    found: dict[str, Fields] = {f"request.{name}": frozenset({name}) for name in service.visible}
    for _, _, unit in plan.units:
        found |= _of_unit(unit, service.scored)
    for item in service.request:  # declared in the order of what reads what
        found[item.name] = frozenset().union(*(found[name] for name in item.inputs))
    return found


def reading(plan: ServicePlan, features: frozenset[str]) -> ServicePlan:
    """The part of a service that yields some features: over a whole file nobody should compute the others."""
    wanted, request = set(features), list[RequestFeature]()
    for item in reversed(plan.service.request):
        if item.name in wanted:
            request.insert(0, item)
            wanted.update(item.inputs)
    yields = {unit.view.name for _, _, unit in plan.units if wanted.intersection(_of_unit(unit, plan.service.scored))}
    views = tuple(view for view in plan.service.views if view.name in yields)
    return replace(plan, service=replace(plan.service, views=views, request=tuple(request)))


def _of_unit(unit: Unit, scored: Source) -> dict[str, Fields]:
    keys, found = frozenset(unit.entity.keys), dict[str, Fields]()
    for out in unit.outs:
        found[out.name] = keys.union(*(_of_input(item, scored) for spec in out.accs for item in spec.inputs))
    for ratio in unit.ratios:
        found[ratio.name] = frozenset().union(*(found[name] for name in (ratio.numerator, *ratio.denominators)))
    return found


def _of_input(item: Input, scored: Source) -> Fields:
    if item.source.name != scored.name:
        return frozenset({item.source.name})
    trees = [tree for tree in (item.of, item.where, item.present) if tree is not None]
    return frozenset().union(*map(_of_tree, trees))


def _of_tree(tree: Expr) -> Fields:
    match tree:
        case Col(name):
            return frozenset({name})
        case Circular(_, of):
            return _of_tree(of)
        case Binary(op, left, right):
            first, second = _of_tree(left), _of_tree(right)
            return first & second if op in EITHER else first | second
        case _:
            return frozenset()
