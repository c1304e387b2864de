"""Benchmarks of quality and speed. `python -m benchmarks.<name>` prints one JSON object as its last line."""
