"""The data sets of `benchmarks.quality`, one module each: `measure(path)` gives figures and ratios."""
