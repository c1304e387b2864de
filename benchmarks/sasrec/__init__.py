"""SASRec as others and we train it, each a command of its own that `benchmarks.train` starts."""
