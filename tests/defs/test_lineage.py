"""The graph as the UI draws it."""

from graphlib import TopologicalSorter

from fraud_assets.definitions import defs


def test_the_lineage_has_no_cycle() -> None:
    """Dagster loads a cycle through external assets without a word; its UI then draws an error instead of the graph."""
    graph = defs().resolve_asset_graph()

    order = TopologicalSorter({key: graph.get(key).parent_keys for key in graph.get_all_asset_keys()})

    assert len(list(order.static_order())) >= len(graph.materializable_asset_keys)
