"""SegMM: in which segment will this person leave? Ours against positions alone, split by time."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from contracts.errors import InputError
from models.determinism import settle
from models.metrics import bootstrap
from models.segment_views import Log, fit, make_views
from models.segment_views import measure as measure_skips
from models.segments import (
    FINISHED,
    SegmentCatalogue,
    SegmentInterest,
    Views,
    position_only,
    skip_metrics,
    skip_ranks,
    there,
)
from tasks.importers.release import read_table
from tasks.importers.segmm import COLUMNS, FILE, SEGMENT_MS

MAX_SEGMENTS, HISTORY = 40, 100  # N and M of the paper
SEEDS = (1, 2, 3)
BOOTSTRAP = 2000


def measure(path: Path) -> tuple[dict, dict]:
    """HR@k and NDCG@k of the segment left, on the newest tenth; the difference by person, over the seeds."""
    log = read(path)
    views, catalogue = prepare(log)
    first, second = int(0.8 * len(log.user_E)), int(0.9 * len(log.user_E))
    train, valid, test = (
        views.take(part) for part in torch.arange(len(log.user_E)).tensor_split([first, second])
    )
    scores_N = position_only(train, int(catalogue.length_V.max())).expand(len(test.user_B), -1)
    baseline = skip_metrics(skip_ranks(scores_N, test.left_B, there(test, catalogue)))
    runs = [_run(seed, log, catalogue, train, valid, test) for seed in SEEDS]
    ours = {name: torch.stack([run[name] for run in runs]).mean(0) for name in baseline}
    people = log.user_E[second:][(test.left_B != FINISHED).numpy()]
    figures: dict = {"views": len(people), "people": len(set(people.tolist())), "seeds": len(SEEDS)}
    for name in baseline:
        figures[f"{name}_ours"] = round(float(ours[name].mean()), 4)
        figures[f"{name}_position_only"] = round(float(baseline[name].mean()), 4)
    for name in ("hr@1", "ndcg@10"):
        figures[f"{name}_ours_minus_position_only"] = _by_person(ours[name] - baseline[name], people)
    return figures, {
        "hr@1_ours_over_position_only": round(float(ours["hr@1"].mean() / baseline["hr@1"].mean()), 3)
    }


def read(path: Path) -> Log:
    """The release's views in order of time.

    Raises:
        InputError: the file or a column is missing, or it holds fewer than 100 views.
    """
    if not path.is_dir():
        raise InputError(f"{path} is no folder; give the folder that holds {FILE}")
    views = sorted(read_table(path / FILE, COLUMNS), key=lambda view: view["time_ms"])
    if len(views) < 100:
        raise InputError(f"{path / FILE} holds {len(views)} views; at least 100 are needed to split by time")
    return Log(
        np.unique([view["user_id"] for view in views], return_inverse=True)[1],
        np.unique([view["video_id"] for view in views], return_inverse=True)[1],
        np.array([view["playing_time"] for view in views]),
        np.array([view["duration_ms"] for view in views]),
    )


def prepare(log: Log) -> tuple[Views, SegmentCatalogue]:
    """All views, and a catalogue that knows lengths only: the release has no features."""
    length_V = torch.zeros(int(log.video_E.max()) + 1, dtype=torch.long)
    length_V[torch.from_numpy(log.video_E)] = torch.from_numpy(-(-log.duration_ms_E // SEGMENT_MS))
    trained = int(0.8 * len(log.user_E))
    views = make_views(log, SEGMENT_MS, MAX_SEGMENTS, HISTORY, trained)
    return views, SegmentCatalogue({}, {}, length_V.clamp(max=MAX_SEGMENTS))


def _run(
    seed: int, log: Log, catalogue: SegmentCatalogue, train: Views, valid: Views, test: Views
) -> dict[str, Tensor]:
    settle(seed)
    users, videos = int(log.user_E.max()) + 1, int(log.video_E.max()) + 1
    model = SegmentInterest({}, users, videos, MAX_SEGMENTS)
    fit(model, catalogue, train, valid, seed=seed)
    return measure_skips(model, catalogue, test)


def _by_person(difference_E: Tensor, people_E: np.ndarray) -> dict[str, float | None]:
    """Mean over people of each one's mean difference, with its interval over people."""
    of = [difference_E.numpy()[people_E == person].mean() for person in np.unique(people_E)]
    return {key: value and round(value, 4) for key, value in bootstrap(np.array(of), BOOTSTRAP, 1).items()}
