"""One-off studies. `python -m research.studies.<name>` prints one JSON object as its last line."""

from core.paths import PROJECT_ROOT

RESULTS = PROJECT_ROOT / "research" / "results"
