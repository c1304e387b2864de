"""A model on disk: `model.safetensors` and `model.json`. No pickle, nothing of the machine or the day."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, fields
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from models.baselines import BASELINES, Baseline
from models.interest import InterestModel, Spec

WEIGHTS, DESCRIPTION = "model.safetensors", "model.json"
FORMAT = 9  # 9: encoders end without a bias (models/sequence.py)


def build(spec: Spec) -> InterestModel | Baseline:
    """A new model of the kind that the description names."""
    return InterestModel(spec) if spec.model == "interest" else BASELINES[spec.model](spec)


def save_bundle(folder: Path, model: InterestModel | Baseline) -> None:
    """Write the model into the folder; the same model gives the same bytes."""
    tensors = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    text = json.dumps({"format": FORMAT, **asdict(model.spec)}, indent=1, ensure_ascii=False)
    with _whole(folder / WEIGHTS) as path:
        save_file(tensors, path)
    with _whole(folder / DESCRIPTION) as path:
        path.write_text(text + "\n", encoding="utf-8")


@contextmanager
def _whole(path: Path) -> Iterator[Path]:
    """A temporary name to write to; the file has its own name only when all of it is there."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    yield temporary
    temporary.replace(path)


def load_bundle(folder: Path) -> InterestModel | Baseline:
    """Read a model, ready to score.

    Raises:
        ValueError: a file is missing, broken or of another format, or weights and description do not fit.
    """
    for name in (WEIGHTS, DESCRIPTION):
        if not (folder / name).is_file():
            raise ValueError(f"{folder / name} is missing; a model is {WEIGHTS} and {DESCRIPTION}")
    model = _built(folder / DESCRIPTION)
    try:
        model.load_state_dict(load_file(folder / WEIGHTS))
    except (RuntimeError, SafetensorError) as error:
        raise ValueError(f"{folder / WEIGHTS} does not fit {DESCRIPTION}: {error}") from None
    return model.eval()


def _built(path: Path) -> InterestModel | Baseline:
    """The model of a description; whatever is wrong in it is a ValueError that names the file."""
    spec = _read_spec(path)
    try:
        return build(spec)
    except (AttributeError, KeyError, RuntimeError, TypeError, ValueError, ZeroDivisionError) as error:
        raise ValueError(f"{path} describes no model ({type(error).__name__}: {error})") from None


def _read_spec(path: Path) -> Spec:
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} cannot be read as JSON ({error})") from None
    if not isinstance(raw, dict) or raw.pop("format", None) != FORMAT:
        raise ValueError(
            f"{path} is not of format {FORMAT}: another version made it; docs/operations.md says what to do"
        )
    known = {field.name: field.default is field.default_factory for field in fields(Spec)}
    needed = {name for name, without_default in known.items() if without_default}
    if odd := sorted((raw.keys() - known) | (needed - raw.keys())):
        raise ValueError(f"{path}: unknown or missing keys {', '.join(odd)}")
    try:
        for columns in ("numbers", "video_numbers"):
            raw[columns] = {name: (mean, deviation) for name, (mean, deviation) in raw[columns].items()}
    except (AttributeError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: {columns} holds no pairs of numbers ({error})") from None
    return Spec(**raw)
