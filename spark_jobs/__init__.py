"""DataFrame → DataFrame, no I/O: what Spark does to a day's events."""
