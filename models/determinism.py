"""What makes a run repeat to the last bit: seeds, deterministic algorithms, and the number of threads."""

import os

import torch

THREADS = (
    1  # sums are split by thread, so their number is part of the result; and two fight on a busy machine
)


def settle(seed: int = 0) -> None:
    """Same inputs, same seed, same bits, whatever OMP_NUM_THREADS says."""
    torch.set_deterministic_debug_mode("error")  # use_deterministic_algorithms imports the compiler: 2 s
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # without, a GPU refuses to multiply
    torch.set_num_threads(THREADS)
    torch.manual_seed(seed)
