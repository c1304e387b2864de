"""Vectors of other encoders than the night's, for the models that the night is compared with.

After a change of an encoder, the champion still reads the vectors that it was trained on. Videos that only
the new encoder embedded lack the modality for it, as they would if it were served.
"""

from pathlib import Path

from core.hashing import BUNDLE_FILES
from core.run_manifests import read_json

COMPARED_FEATURES = "compared_features.safetensors"
COMPARED_MODELS = ("champion", "incumbent")  # folders of the snapshot


def compared_tensor(modality: str, fingerprint: str) -> str:
    """Return the name of the tensor with the vectors of an encoder. With `.mask` it is that of their mask."""
    return f"{modality}.{fingerprint}"


def encoders_of_compared_models(snapshot_folder: Path) -> set[tuple[str, str]]:
    """Return modality and fingerprint of each encoder that a compared model was trained on.

    Raises:
        InputError: The description of a model is damaged.
    """
    encoders: set[tuple[str, str]] = set()
    for name in COMPARED_MODELS:
        path = snapshot_folder / name / BUNDLE_FILES[1]
        if path.exists():
            remedy = "run `python -m tasks.snapshot` again"
            encoders |= read_json(path, remedy).get("encoder_fingerprints", {}).items()
    return encoders
