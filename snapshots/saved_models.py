"""Reading of models and tensors that earlier steps saved. Errors name the file and the remedy."""

from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from core.errors import InputError
from models.baselines import Baseline
from models.bundle import load_bundle
from models.interest_model import InterestModel


def read_model(folder: Path) -> InterestModel | Baseline:
    """Return a saved model.

    Raises:
        InputError: Its files are damaged or of another format version.
    """
    try:
        return load_bundle(folder)
    except ValueError as error:
        step = "train" if folder.name == "train" else "snapshot"
        message = " ".join(str(error).split())
        raise InputError(
            f"{folder}: this version cannot read the model: {message}; run `python -m tasks.{step}` again"
        ) from None


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Return the tensors that an earlier step wrote.

    Raises:
        InputError: The file is damaged.
    """
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        remedy = f"run `python -m tasks.{path.parent.name}` again"
        raise InputError(f"{path} cannot be read as tensors ({error}); {remedy}") from None
