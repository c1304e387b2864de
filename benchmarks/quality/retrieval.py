"""Does a caption retrieve its video, and a sound its frames? Compares trained and untrained default encoders.

The landing folder must be held out from training. Its videos are embedded as in production and ranked for
each caption and each sound.
- recall@k: share of the queries whose own video is among the first k.
- same_topic@k: share of the first k other videos that have a hashtag of the query's video.
- chance: the same for a random order.
- topic_oracle: expected recall of an oracle that knows only the true topics. It needs --ground-truth, the
  ground truth of the simulation. No encoder reads it.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch

from benchmarks.result import publish_result
from core import config as parameters
from core.config import EmbedConfig
from core.errors import DONE, REFUSED_INPUT, InputError
from core.paths import PROJECT_ROOT
from core.tables import WHOLE_VIDEO
from features.embedding import BatchEncoder, normalise
from features.text_normalisation import normalise_text
from media.clip import DecodedVideo
from models.encoders import Encoder, build_audio_encoder, build_image_encoder, build_text_encoder
from models.encoders.default import DEFAULT, UNTRAINED
from models.seeding import seed_everything
from undercurrent.pretrain import decode_clips, read_videos, subject_tags

CUTOFFS = (1, 10)
QUERY_TARGET_PAIRS = (("text", "visual"), ("text", "audio"), ("audio", "visual"))  # query, target
CPU = torch.device("cpu")


def main() -> int:
    """Run the benchmark.

    Returns:
        the exit code.
    """
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.quality.retrieval",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--landing", type=Path, required=True, metavar="DIR", help="landing folder of a held-out simulation"
    )
    parser.add_argument(
        "--ground-truth", type=Path, metavar="DIR", help="ground truth of the same simulation"
    )
    parser.add_argument("--keep", action="store_true", help="write benchmarks/results/retrieval.json")
    args = parser.parse_args()
    seed_everything()
    try:
        figures = benchmark_retrieval(args.landing, args.ground_truth)
    except InputError as error:
        print(f"retrieval: refused: {error}", file=sys.stderr)
        return REFUSED_INPUT
    publish_result("retrieval", figures, compute_ratios(figures), args.keep)
    return DONE


def benchmark_retrieval(landing: Path, ground_truth: Path | None) -> dict[str, Any]:
    """Measure each pair of modalities with trained and untrained encoders.

    Args:
        landing: landing folder.
        ground_truth: folder of the ground truth, None to leave out the oracle.

    Returns:
        the figures, with the chance level of each.

    Raises:
        InputError: the landing folder holds no videos.
    """
    captioned = [record for record in read_videos(landing) if normalise_text(record["caption"] or "")]
    embeddings = {spec: embed_records(landing, captioned, spec) for spec in (DEFAULT, UNTRAINED)}
    records = [
        r for r in captioned if all(r["video_id"] in by_video for by_video in embeddings[DEFAULT].values())
    ]
    same_topic_VV = np.array(
        [[not subject_tags(a).isdisjoint(subject_tags(b)) for b in records] for a in records]
    )
    others_VV = ~np.eye(len(records), dtype=bool)
    figures: dict[str, Any] = {
        "videos": len(records),
        "shared_captions": len(records) - len({record["caption"] for record in records}),
        "chance": {f"recall@{k}": round(k / len(records), 4) for k in CUTOFFS}
        | {"same_topic": round(float(same_topic_VV[others_VV].mean()), 4)},
    }
    for query, target in QUERY_TARGET_PAIRS:
        results = figures[f"{query}->{target}"] = {}
        for spec, by_modality in embeddings.items():
            query_VD, target_VD = (
                np.stack([by_modality[m][r["video_id"]] for r in records]) for m in (query, target)
            )
            results[spec] = compute_recall(query_VD, target_VD, same_topic_VV)
        if ground_truth:
            results["topic_oracle"] = expected_oracle_recall(ground_truth, records, query, target)
    return figures


def compute_ratios(figures: Mapping[str, Any]) -> dict[str, float]:
    """Divide recall@10 of the trained encoders by chance and by that of the untrained ones."""
    ratio_by_name = {}
    for query, target in QUERY_TARGET_PAIRS:
        results = figures[f"{query}->{target}"]
        for name, base in (("chance", figures["chance"]), ("untrained", results[UNTRAINED])):
            if base["recall@10"]:
                ratio = results[DEFAULT]["recall@10"] / base["recall@10"]
                ratio_by_name[f"{query}->{target}, trained over {name}"] = round(ratio, 2)
    return ratio_by_name


def embed_records(
    folder: Path, records: Sequence[Mapping[str, Any]], spec: str
) -> dict[str, dict[str, np.ndarray]]:
    """Embed the captions, and the frames and sound of whole videos.

    Args:
        folder: landing folder.
        records: catalogue records of the videos.
        spec: name of the encoders.

    Returns:
        modality -> video id -> unit vector.
    """
    params: EmbedConfig = parameters.load_params(PROJECT_ROOT / "params.yaml").embed
    image, text = build_image_encoder(spec, CPU), build_text_encoder(spec, CPU)
    sound = build_audio_encoder(spec, CPU)
    encoders: dict[str, Encoder] = {"visual": image, "text": text, "audio": sound}
    batches = {
        modality: BatchEncoder(modality, e.encode, params.batch_size) for modality, e in encoders.items()
    }
    for record, clip in zip(records, decode_clips(folder, records, params, image, sound), strict=True):
        batches["text"].add(record["video_id"], WHOLE_VIDEO, [normalise_text(record["caption"])])
        if isinstance(clip, DecodedVideo):
            for segment, frames in clip.frames.items():
                batches["visual"].add(record["video_id"], segment, list(frames))
            for segment, samples in clip.audio.items():
                batches["audio"].add(record["video_id"], segment, [samples])
    return {
        modality: {
            video: normalise(np.sum([*parts.values()], axis=0)) for video, parts in batch.finish().items()
        }
        for modality, batch in batches.items()
    }


def compute_recall(
    query_VD: np.ndarray, target_VD: np.ndarray, same_topic_VV: np.ndarray
) -> dict[str, float]:
    """Return recall@k of the query's own video, and same_topic@k of the other videos.

    Args:
        query_VD, target_VD: unit vectors, row i for video i.
        same_topic_VV: whether two videos share a hashtag.
    """
    score_VV = query_VD @ target_VD.T
    target_score_V = score_VV.diagonal()
    num_above_V = (~(score_VV < target_score_V[:, None])).sum(1) - 1  # ties and NaN count as above
    others_VV = score_VV.copy()
    np.fill_diagonal(others_VV, -np.inf)
    order_VV = np.argsort(-others_VV, axis=1, kind="stable")
    ranked_same_topic_VV = np.take_along_axis(same_topic_VV, order_VV, axis=1)
    return {f"recall@{k}": round(float((num_above_V < k).mean()), 4) for k in CUTOFFS} | {
        f"same_topic@{k}": round(float(ranked_same_topic_VV[:, :k].mean()), 4) for k in CUTOFFS
    }


def expected_oracle_recall(
    ground_truth: Path, records: Sequence[Mapping[str, Any]], query: str, target: str
) -> dict[str, float]:
    """Return the expected recall of an oracle that knows the true topics.

    It ranks the videos whose target has the query's topic first, otherwise at random.
    """
    table = pq.read_table(ground_truth / "videos.parquet", columns=["video_id", query, target]).to_pylist()
    topics = {row["video_id"]: (row[query], row[target]) for row in table}
    query_topic_V, target_topic_V = np.array([topics[record["video_id"]] for record in records]).T
    num_same_topic_V = (query_topic_V[:, None] == target_topic_V).sum(1)
    recall_same_topic = {k: np.minimum(k / np.maximum(num_same_topic_V, 1), 1) for k in CUTOFFS}
    recall_other_topic = {
        k: np.clip(k - num_same_topic_V, 0, None) / np.maximum(len(records) - num_same_topic_V, 1)
        for k in CUTOFFS
    }
    return {
        f"recall@{k}": round(
            float(
                np.where(query_topic_V == target_topic_V, recall_same_topic[k], recall_other_topic[k]).mean()
            ),
            4,
        )
        for k in CUTOFFS
    }


if __name__ == "__main__":
    sys.exit(main())
