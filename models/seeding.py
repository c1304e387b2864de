"""Bit-exact repetition of a run: seeds, deterministic algorithms and the number of threads."""

import os

import torch

# Sums are split by thread, so the number of threads changes results. On a busy machine two are slower.
NUM_THREADS = 1


def seed_everything(seed: int = 0) -> None:
    """Make results depend on inputs and seed only, to the last bit, whatever OMP_NUM_THREADS is."""
    torch.set_deterministic_debug_mode(
        "error"
    )  # use_deterministic_algorithms takes 2 s to import the compiler
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    os.environ.setdefault(
        "CUBLAS_WORKSPACE_CONFIG", ":4096:8"
    )  # deterministic matrix products on a GPU need it
    torch.set_num_threads(NUM_THREADS)
    torch.manual_seed(seed)
