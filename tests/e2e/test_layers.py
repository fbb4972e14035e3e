"""The table of five layers says what the test of `make up` does."""

import re
from pathlib import Path

from deploy.local.services import CATALOGUE
from streaming.supervise import ROLES
from tests.e2e.layers import WITHOUT, layers_of


def test_the_table_has_each_layer_with_processes_that_are_no_other_layers(root: Path) -> None:
    layers = layers_of(root / "docs" / "reliability.md")
    stopped = [name for names in layers.values() for name in names]

    assert list(layers) == list(WITHOUT)
    assert all(layers.values())
    assert sorted(stopped) == sorted({*CATALOGUE, *ROLES} - {"worker", "pricing"})


def test_the_table_names_the_test_of_each_layer(root: Path) -> None:
    page = (root / "docs" / "reliability.md").read_text()
    named = re.findall(r"`(test_\w+)\[([^]]+)\]`", page)

    assert [layer for _, layer in named] == list(WITHOUT)
    (test,) = {test for test, _ in named}
    assert f'@pytest.mark.parametrize("layer", WITHOUT)\ndef {test}(' in (root / "tests/e2e/test_up.py").read_text()
