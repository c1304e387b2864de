"""Models and tensors that earlier steps saved, with errors that name the file and the step that writes it."""

from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from contracts.errors import InputError
from models.baselines import Baseline
from models.bundle import load_bundle
from models.interest import InterestModel


def read_model(folder: Path) -> InterestModel | Baseline:
    """A saved model.

    Raises:
        InputError: its files are broken, or of another version of the code.
    """
    try:
        return load_bundle(folder)
    except ValueError as error:
        step = "train" if folder.name == "train" else "snapshot"
        told = " ".join(str(error).split())
        raise InputError(
            f"{folder}: not a model that this version can read: {told};"
            f" `python -m tasks.{step}` writes it anew"
        ) from None


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors that an earlier step has written.

    Raises:
        InputError: the file is damaged.
    """
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        remedy = f"run `python -m tasks.{path.parent.name}` again"
        raise InputError(f"{path} cannot be read as tensors ({error}); {remedy}") from None
