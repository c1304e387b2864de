"""`python -m undercurrent` runs the console script `undercurrent`."""

from undercurrent.cli import app

app(prog_name="undercurrent")
