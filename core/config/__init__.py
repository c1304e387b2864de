"""params.yaml as frozen dataclasses, with one section for each step and units in the names.

The sections `simulator` and `privacy` belong to no step.

Keys may be neither missing nor unknown. Values must have the declared type and lie within their bounds. An
error names the file, the section and the key.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from core.config.lake_half import CheckConfig, CleanConfig, EmbedConfig, IngestConfig, SequencesConfig
from core.config.model_half import (
    AlignConfig,
    EvaluateConfig,
    GateConfig,
    PromoteConfig,
    RecordConfig,
    ReportConfig,
    SnapshotConfig,
    TrainConfig,
)
from core.config.privacy import PrivacyConfig
from core.config.simulator import SimulatorConfig
from core.errors import InputError
from core.schema import build_dataclass

BASE = "base"  # the key that names the file which an overlay changes


@dataclass(frozen=True)
class Params:
    """The content of params.yaml."""

    night: str
    simulator: SimulatorConfig
    privacy: PrivacyConfig
    ingest: IngestConfig
    clean: CleanConfig
    sequences: SequencesConfig
    embed: EmbedConfig
    check: CheckConfig
    snapshot: SnapshotConfig
    align: AlignConfig
    train: TrainConfig
    evaluate: EvaluateConfig
    gate: GateConfig
    promote: PromoteConfig
    record: RecordConfig
    report: ReportConfig

    def section(self, step: str) -> Any:
        """Return the section of a step."""
        return getattr(self, step)


def load_params(path: Path) -> Params:
    """Read and check a parameter file.

    A file with the key `base` changes only some values of another file. If it changes `train.model.name`, it
    gives the whole mapping `train.model`.

    Raises:
        InputError: the file is missing or not YAML, or its content does not match the dataclasses.
    """
    return build_dataclass(Params, read_values(path), str(path))


def read_values(path: Path) -> Any:
    """The values of a parameter file, laid over those of its base.

    Raises:
        InputError: a file is missing or not YAML, or its base does not match the dataclasses.
    """
    values = _read_yaml(path)
    if not isinstance(values, dict) or BASE not in values:
        return values
    base_path = path.parent / str(values.pop(BASE))
    load_params(base_path)  # an error in the base names the base
    return _overlay(read_values(base_path), values)


def merged_text(path: Path) -> str:
    """The text of a parameter file that stands alone: its own, or that of the merged values."""
    values = _read_yaml(path)
    if not isinstance(values, dict) or BASE not in values:
        return path.read_text(encoding="utf-8")
    return yaml.safe_dump(read_values(path), sort_keys=False, allow_unicode=True)


def _read_yaml(path: Path) -> Any:
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path} does not exist; pass --params or run from the project's folder") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from None


def _overlay(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """The base with the changed values; mappings are merged key by key.

    A mapping with another `name` replaces that of the base: its keys belong to another model.
    """
    if changes.get("name", base.get("name")) != base.get("name"):
        return changes
    merged = dict(base)
    for key, value in changes.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = _overlay(merged[key], value) if both else value
    return merged
