"""Spark transformations of a day's events, from DataFrame to DataFrame."""
