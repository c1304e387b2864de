"""Export a saved model for serving without torch: the user side as ONNX, the videos as numpy arrays.

A score is the inner product of a user vector and a video vector. The export holds the sequence model only.
It has no counted sources, no final ranker and no ranking heads. A student that was distilled
(`undercurrent distil`) has none either, so its export ranks as it does.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch.export import Dim

from core.errors import InputError
from core.hashing import BUNDLE_FILES, hash_bundle, hash_file
from core.paths import Night
from core.run_manifests import write_json
from models.data.items import ALWAYS_AVAILABLE, ItemTable
from models.export import InputSpec, UserSide, input_specs
from models.interest_model import InterestModel
from registry.model_registry import CATALOGUE_FILES, fetch_champion
from registry.served_model import Recommender
from tasks.promote import write_artifacts

USER_FILE, ITEMS_FILE, MANIFEST = "user.onnx", "items.npz", "manifest.json"
FORMAT_VERSION = 1
OUTPUT = "user_vector"
LIBRARIES = ("torch", "onnx", "onnxscript")


@dataclass(frozen=True)
class SavedModel:
    """A model with the catalogue that it is served with.

    Attributes:
        recommender: It holds the model, the ids of the videos, the item table and the embeddings.
        origin: Where it comes from, for the manifest.
    """

    recommender: Recommender
    origin: Mapping[str, str | None]


def load_night(night: Night) -> SavedModel:
    """Return the trained model of a night with the catalogue of its test day.

    Raises:
        InputError: A file is missing or damaged.
    """
    with TemporaryDirectory(prefix="undercurrent-export-") as folder:
        recommender = _load(write_artifacts(night, Path(folder)))
    digest = hash_bundle(night.folder("train"))
    return SavedModel(recommender, {"night": str(night.day), "version": None, "bundle_digest": digest})


def load_champion() -> SavedModel:
    """Return the champion with the catalogue that it was registered with.

    Raises:
        InputError: There is no champion, or its files are missing.
        ServiceUnavailableError: MLflow does not answer.
    """
    with TemporaryDirectory(prefix="undercurrent-export-") as name:
        folder = Path(name) / "champion"
        champion = fetch_champion(folder)
        weights, config = BUNDLE_FILES
        catalogue, features = CATALOGUE_FILES
        files = {"weights": weights, "config": config, "catalogue": catalogue, "features": features}
        recommender = _load({key: folder / file for key, file in files.items()})
        digest = hash_bundle(folder)
    return SavedModel(
        recommender, {"night": champion.night, "version": champion.number, "bundle_digest": digest}
    )


def _load(files: Mapping[str, Path]) -> Recommender:
    """Return the model as MLflow serves it.

    Raises:
        InputError: The files are damaged, or the model is a baseline.
    """
    recommender, context = Recommender(), SimpleNamespace(artifacts={k: str(p) for k, p in files.items()})
    try:
        recommender.load_context(context)  # type: ignore[arg-type]  # it reads the artifacts only
    except ValueError as error:
        raise InputError(f"the model cannot be read: {error}") from None
    if not isinstance(recommender.model, InterestModel):
        raise InputError(
            f"{files['config']}: the model is {recommender.model.config.model}, but only the model interest"
            " can be exported; choose another night"
        )
    return recommender


def export(saved: SavedModel, out: Path) -> dict[str, Any]:
    """Write user.onnx, items.npz and manifest.json.

    Args:
        saved: The model.
        out: The folder. Files of an earlier export are replaced.

    Returns:
        The manifest.

    Raises:
        InputError: The scores of the model are no inner products.
    """
    recommender = saved.recommender
    model = recommender.model
    assert isinstance(model, InterestModel)
    out.mkdir(parents=True, exist_ok=True)
    try:
        user_side = UserSide(model, recommender.items)
    except ValueError as error:
        raise InputError(str(error)) from None
    write_user_side(user_side, out / USER_FILE)
    vectors_VF = video_vectors(recommender)
    available_from, available_until = _availability(recommender.item_table)
    np.savez(
        out / ITEMS_FILE,
        video_ids=np.array(recommender.video_ids.to_pylist(), dtype=np.str_),
        vectors=vectors_VF,
        available_from=available_from,
        available_until=available_until,
    )
    manifest = _manifest(model, saved.origin, vectors_VF.shape)
    manifest["digests"] = {name: hash_file(out / name) for name in (USER_FILE, ITEMS_FILE)}
    write_json(out / MANIFEST, manifest)
    return manifest


@torch.no_grad()
def video_vectors(recommender: Recommender) -> np.ndarray:
    """Return w_VF of `InterestModel.inner_product_vectors`."""
    model = recommender.model
    assert isinstance(model, InterestModel)
    factors = model.inner_product_vectors(model.average_users, recommender.items)
    assert factors is not None  # `UserSide` refuses a model without such vectors
    return factors[1].numpy()


def _availability(item_table: ItemTable) -> tuple[np.ndarray, np.ndarray]:
    """Return the first and the last day of each video, counted from 1970."""
    always = torch.full_like(item_table.id_row_V, ALWAYS_AVAILABLE)
    first, last = item_table.upload_day_V, item_table.available_until_V
    return (always * 0 if first is None else first).numpy(), (always if last is None else last).numpy()


def write_user_side(user_side: UserSide, path: Path) -> None:
    """Write the network as ONNX. The file names no source files, so equal models give equal bytes."""
    import onnx

    specs, config = input_specs(user_side.model.config), user_side.model.config
    axes = {"B": Dim("batch"), "T": Dim("time", max=config.max_length)}
    shapes = tuple({i: axes[n] for i, n in enumerate(spec.shape) if isinstance(n, str)} for spec in specs)
    with torch.no_grad():
        program = torch.export.export(
            user_side, _example_inputs(specs), dynamic_shapes=(shapes,), strict=True
        )
        exported = torch.onnx.export(program, input_names=user_side.names, output_names=[OUTPUT])
    assert exported is not None
    proto = exported.model_proto
    for node in (*proto.graph.node, *(node for function in proto.functions for node in function.node)):
        del node.metadata_props[:]
    onnx.checker.check_model(proto)
    onnx.save(proto, path)


def _example_inputs(specs: list[InputSpec]) -> tuple[torch.Tensor, ...]:
    """Return zeros for two users with two events each. Tracing needs shapes only."""
    return tuple(
        torch.zeros([2 if isinstance(size, str) else size for size in spec.shape], dtype=spec.dtype)
        for spec in specs
    )


def _manifest(
    model: InterestModel, origin: Mapping[str, str | None], shape: tuple[int, ...]
) -> dict[str, Any]:
    config = model.config
    return {
        "format_version": FORMAT_VERSION,
        "model": dict(origin),
        "score": f"{OUTPUT} @ vectors.T",
        "inputs": [
            asdict(spec) | {"dtype": str(spec.dtype).removeprefix("torch.")} for spec in input_specs(config)
        ],
        "max_length": config.max_length,
        "videos": shape[0],
        "vector_width": shape[1],
        "behaviours": list(config.behaviours),
        "contexts": {name: list(values) for name, values in config.contexts.items()},
        "profile_categories": {n: list(values) for n, values in config.user_categorical_features.items()},
        "profile_numbers": list(config.user_numerical_features),
        "encoder_fingerprints": dict(config.encoder_fingerprints),
        "not_exported": {
            "sources": list(config.sources),
            "final_ranker": bool(model.sources),
            "rerank": bool(config.rerank.get("candidates", 0)),
        },
        "software": {name: version(name) for name in LIBRARIES},
    }
