"""Modality weights from the log evidence of a Gaussian process, and its posterior mean. See README.md."""
