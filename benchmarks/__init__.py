"""What is measured, against whom: `python -m benchmarks.<name>` prints one JSON object as its last line."""
