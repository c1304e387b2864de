"""Align the modalities: train one projection of each into a shared space, by InfoNCE.

Training starts from the champion's projections if they have the same encoders and width. An anchor keeps the
embeddings near the champion's. The last epoch within the bound of embedding drift is kept. Only videos with
training interactions are trained on. The metrics are of videos that no alignment was trained on. With fewer
than two modalities nothing is trained.

Several processes share each batch if torchrun starts them:
torchrun --nproc-per-node 4 -m tasks.align --night YYYY-MM-DD
"""

import json
import sys
from collections.abc import Mapping, Sequence

from safetensors.torch import save_file

from core import step_cli
from core.config.model_half import AlignConfig
from core.hashing import hash_folder
from core.paths import Night
from core.run_manifests import RunManifest, write_json
from models import distributed
from models.seeding import seed_everything
from snapshots.champion_space import read_champion_space
from snapshots.reader import SnapshotReader
from training.alignment import cold_start, measure_alignment, train_projections, warm_start


def run(params: AlignConfig, night: Night) -> RunManifest:
    """Write `projections.safetensors` (the projections with their temperature) and `metrics.json`.

    Raises:
        InputError: This version cannot read the champion, or a file of the snapshot is damaged.
    """
    with distributed.process_group():
        seed_everything(params.seed)
        snapshot, out = SnapshotReader(night), night.fresh_folder("align", clear=distributed.get_rank() == 0)
        distributed.barrier()
        item_table = snapshot.item_table(snapshot.widths, [])
        champion = read_champion_space(snapshot, params.width)
        if champion.projections:
            start, projections = "warm", warm_start(champion.projections)
        else:
            start, projections = "cold", cold_start(params, snapshot, item_table)
        curve = train_projections(projections, champion, item_table, snapshot, params)
        metrics = {
            "initialised_from": f"{start}: {champion.reason}",
            "best_epoch": best_epoch(curve, params.max_embedding_drift),
            "curve": curve,
            **measure_alignment(projections, champion, item_table, snapshot, params),
        }
        if distributed.get_rank() == 0:
            settings = {"width": params.width, "near_duplicate_cosine": params.near_duplicate_cosine}
            # safetensors writes several keys in random order. One key keeps the bytes reproducible.
            metadata = {"align": json.dumps(settings)}
            save_file(projections.state_dict(), out / "projections.safetensors", metadata=metadata)
            write_json(out / "metrics.json", metrics)
        distributed.barrier()
    return RunManifest(digests=hash_folder(out), facts={k: v for k, v in metrics.items() if k != "curve"})


def best_epoch(curve: Sequence[Mapping[str, float]], max_embedding_drift: float) -> int:
    """Return the last epoch within the bound of embedding drift. 0 stands for the initial projections."""
    return max((int(row["epoch"]) for row in curve if row["max_p95_drift"] <= max_embedding_drift), default=0)


if __name__ == "__main__":
    sys.exit(step_cli.main("align", run, __doc__))
