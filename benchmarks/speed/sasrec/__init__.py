"""The contenders of `benchmarks.speed.training`. Each module is a command of its own."""
