"""The data sets of `benchmarks.quality.ranking`.

Each module has a function `measure(path)` that returns figures and ratios.
"""
