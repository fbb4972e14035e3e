"""`python -m simulator`."""

from simulator.cli import app
from simulator.lean import without_pandas

without_pandas()
app()
