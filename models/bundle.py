"""Bundles: a model on disk as `model.safetensors` and `model.json`.

A bundle contains no pickle. It does not depend on the machine or the day.
"""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, fields
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from models.baselines import BASELINES, Baseline
from models.config import ModelConfig
from models.interest_model import InterestModel

WEIGHTS_FILE, CONFIG_FILE = "model.safetensors", "model.json"
FORMAT_VERSION = 13  # since 13, a model has no Gaussian process, and it holds its average users


def build_model(config: ModelConfig) -> InterestModel | Baseline:
    """Build the model that `config.model` names, with untrained weights."""
    return InterestModel(config) if config.model == "interest" else BASELINES[config.model](config)


def save_bundle(folder: Path, model: InterestModel | Baseline) -> None:
    """Write the model into the folder. The same model gives the same bytes."""
    tensors = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    text = json.dumps(
        {"format_version": FORMAT_VERSION, **asdict(model.config)}, indent=1, ensure_ascii=False
    )
    with _atomic_write(folder / WEIGHTS_FILE) as path:
        save_file(tensors, path)
    with _atomic_write(folder / CONFIG_FILE) as path:
        path.write_text(text + "\n", encoding="utf-8")


@contextmanager
def _atomic_write(path: Path) -> Iterator[Path]:
    """Give a temporary path to write to. The file gets its name only when it is complete."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    yield temporary
    temporary.replace(path)


def load_bundle(folder: Path) -> InterestModel | Baseline:
    """Read a model from a folder, in evaluation mode.

    Raises:
        ValueError: A file is missing, broken or of another format, weights and `ModelConfig` do not match, or
            a weight is NaN.
    """
    for name in (WEIGHTS_FILE, CONFIG_FILE):
        if not (folder / name).is_file():
            raise ValueError(f"{folder / name} is missing; a bundle has {WEIGHTS_FILE} and {CONFIG_FILE}")
    model = _build_from_file(folder / CONFIG_FILE)
    try:
        model.load_state_dict(load_file(folder / WEIGHTS_FILE))
    except (RuntimeError, SafetensorError) as error:
        raise ValueError(f"{folder / WEIGHTS_FILE} does not match {CONFIG_FILE}: {error}") from None
    for name, tensor in model.state_dict().items():
        if tensor.is_floating_point() and bool(tensor.isnan().any()):
            raise ValueError(
                f"{folder / WEIGHTS_FILE}: {name} holds NaN, so it ranks nothing; if it is the champion, make"
                " another version the champion (`undercurrent rollback`)"
            )
    return model.eval()


def _build_from_file(path: Path) -> InterestModel | Baseline:
    """Build the model of a file. Every fault of the file is a ValueError that names it."""
    config = _read_config(path)
    try:
        return build_model(config)
    except (AttributeError, KeyError, RuntimeError, TypeError, ValueError, ZeroDivisionError) as error:
        raise ValueError(f"{path} describes no model ({type(error).__name__}: {error})") from None


def _read_config(path: Path) -> ModelConfig:
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} cannot be read as JSON ({error})") from None
    if not isinstance(raw, dict) or raw.pop("format_version", None) != FORMAT_VERSION:
        raise ValueError(
            f"{path} does not have format {FORMAT_VERSION}: another version of Undercurrent wrote it; run "
            "`python -m tasks.train` again, or, if this is the champion, remove its alias `champion` in "
            "MLflow and run the night again from `snapshot`"
        )
    is_required = {field.name: field.default is field.default_factory for field in fields(ModelConfig)}
    required = {name for name, is_needed in is_required.items() if is_needed}
    if invalid := sorted((raw.keys() - is_required) | (required - raw.keys())):
        raise ValueError(f"{path}: unknown or missing keys {', '.join(invalid)}")
    try:
        for field_name in ("user_numerical_features", "item_features"):
            raw[field_name] = {name: (mean, std) for name, (mean, std) in raw[field_name].items()}
    except (AttributeError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: {field_name} must contain pairs of numbers ({error})") from None
    if not isinstance(sources := raw.get("sources", []), list):
        raise ValueError(f"{path}: sources must be a list, not {sources!r}")
    return ModelConfig(**raw)
