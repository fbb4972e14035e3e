"""The result type of assets, for the type checker and for Dagster."""

from typing import TYPE_CHECKING

import dagster as dg

if TYPE_CHECKING:
    Result = dg.MaterializeResult[None]
else:
    # Dagster reads annotations: it wants the bare class where an asset has checks, and strict mypy the argument.
    Result = dg.MaterializeResult
