"""The work of clean and sequences: polars kernels in tasks that Spark schedules."""
