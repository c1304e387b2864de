"""Does a caption find its video, and a sound its picture? The embedded default beside itself untrained.

Embeds the videos of a landing folder that was held out from training as production does, and ranks them for
each caption and each sound. Recall@k: the video itself is among the first k. Same subject@k: the share of
the first k others whose caption bears a hashtag of the query's. Chance is an order drawn by lot. With
--truth (the folder beside the landing folder of a demo world) it also tells the recall to be expected of
whoever knows the subject of every caption, picture and sound for certain and nothing else; no encoder ever
sees that.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch

from benchmarks.result import publish
from contracts import params as parameters
from contracts.errors import DONE, REFUSED_INPUT, InputError
from contracts.params import Embed
from contracts.place import PROJECT
from contracts.tables import WHOLE_VIDEO
from media.clip import Clip
from models.determinism import settle
from models.encoders import Encoder, image_encoder, sound_encoder, text_encoder
from models.encoders.default import DEFAULT, UNTRAINED
from tasks.captions import clean
from tasks.embedding import Batches, unit
from tasks.pretrain import clips, tags, videos

CUTS = (1, 10)
PAIRS = (("text", "visual"), ("text", "audio"), ("audio", "visual"))  # query, answer
CPU = torch.device("cpu")


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.retrieval",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--landing", type=Path, required=True, metavar="DIR", help="of a held-out world")
    parser.add_argument("--truth", type=Path, metavar="DIR", help="the truth of that world")
    parser.add_argument("--keep", action="store_true", help="write benchmarks/results/retrieval.json")
    args = parser.parse_args()
    settle()
    try:
        figures = measure(args.landing, args.truth)
    except InputError as error:
        print(f"retrieval: refused: {error}", file=sys.stderr)
        return REFUSED_INPUT
    publish("retrieval", figures, ratios(figures), args.keep)
    return DONE


def measure(landing: Path, truth: Path | None) -> dict[str, Any]:
    """Recall and same subject of each pair, trained and untrained, with chance and what can be expected."""
    captioned = [record for record in videos(landing) if clean(record["caption"] or "")]
    found = {spec: vectors(landing, captioned, spec) for spec in (DEFAULT, UNTRAINED)}
    whole = [r for r in captioned if all(r["video_id"] in by_video for by_video in found[DEFAULT].values())]
    alike_VV = np.array([[not tags(a).isdisjoint(tags(b)) for b in whole] for a in whole])
    others_VV = ~np.eye(len(whole), dtype=bool)
    figures: dict[str, Any] = {
        "videos": len(whole),
        "captions of several videos": len(whole) - len({record["caption"] for record in whole}),
        "chance": {f"recall@{k}": round(k / len(whole), 4) for k in CUTS}
        | {"same_subject": round(float(alike_VV[others_VV].mean()), 4)},
    }
    for query, answer in PAIRS:
        told = figures[f"{query}->{answer}"] = {}
        for spec, by_modality in found.items():
            q_VD, a_VD = (np.stack([by_modality[m][r["video_id"]] for r in whole]) for m in (query, answer))
            told[spec] = recall(q_VD, a_VD, alike_VV)
        if truth:
            told["knowing the subjects"] = oracle(truth, whole, query, answer)
    return figures


def ratios(figures: Mapping[str, Any]) -> dict[str, float]:
    """Recall@10 of the trained encoders over chance and over the untrained ones."""
    found = {}
    for query, answer in PAIRS:
        told = figures[f"{query}->{answer}"]
        for name, base in (("chance", figures["chance"]), ("untrained", told[UNTRAINED])):
            if base["recall@10"]:
                ratio = told[DEFAULT]["recall@10"] / base["recall@10"]
                found[f"{query}->{answer}, trained over {name}"] = round(ratio, 2)
    return found


def vectors(
    folder: Path, records: Sequence[Mapping[str, Any]], spec: str
) -> dict[str, dict[str, np.ndarray]]:
    """Modality -> video -> unit vector: of the caption alone, and of the whole video's pictures and sound."""
    params: Embed = parameters.load(PROJECT / "params.yaml").embed
    image, text, sound = image_encoder(spec, CPU), text_encoder(spec, CPU), sound_encoder(spec, CPU)
    encoders: dict[str, Encoder] = {"visual": image, "text": text, "audio": sound}
    batches = {modality: Batches(modality, e.encode, params.batch_size) for modality, e in encoders.items()}
    for record, clip in zip(records, clips(folder, records, params, image, sound), strict=True):
        batches["text"].add(record["video_id"], WHOLE_VIDEO, [clean(record["caption"])])
        if isinstance(clip, Clip):
            for segment, frames in clip.frames.items():
                batches["visual"].add(record["video_id"], segment, list(frames))
            for segment, samples in clip.sound.items():
                batches["audio"].add(record["video_id"], segment, [samples])
    return {
        modality: {video: unit(np.sum([*parts.values()], axis=0)) for video, parts in batch.finish().items()}
        for modality, batch in batches.items()
    }


def recall(query_VD: np.ndarray, answer_VD: np.ndarray, alike_VV: np.ndarray) -> dict[str, float]:
    """Recall@k of the video itself, and how many of the first k are of the same subject, itself left out."""
    score_VV = query_VD @ answer_VD.T
    own_V = score_VV.diagonal()
    above_V = (~(score_VV < own_V[:, None])).sum(1) - 1  # a tie or NaN is no find
    others_VV = score_VV.copy()
    np.fill_diagonal(others_VV, -np.inf)
    order_VV = np.argsort(-others_VV, axis=1, kind="stable")
    alike = np.take_along_axis(alike_VV, order_VV, axis=1)
    return {f"recall@{k}": round(float((above_V < k).mean()), 4) for k in CUTS} | {
        f"same_subject@{k}": round(float(alike[:, :k].mean()), 4) for k in CUTS
    }


def oracle(truth: Path, records: Sequence[Mapping[str, Any]], query: str, answer: str) -> dict[str, float]:
    """Expected recall of ranking the videos whose answer has the query's true subject first, else by lot."""
    table = pq.read_table(truth / "videos.parquet", columns=["video_id", query, answer]).to_pylist()
    subject = {row["video_id"]: (row[query], row[answer]) for row in table}
    asked_V, told_V = np.array([subject[record["video_id"]] for record in records]).T
    first_V = (asked_V[:, None] == told_V).sum(1)
    among_first = {k: np.minimum(k / np.maximum(first_V, 1), 1) for k in CUTS}
    behind = {k: np.clip(k - first_V, 0, None) / np.maximum(len(records) - first_V, 1) for k in CUTS}
    return {
        f"recall@{k}": round(float(np.where(asked_V == told_V, among_first[k], behind[k]).mean()), 4)
        for k in CUTS
    }


if __name__ == "__main__":
    sys.exit(main())
