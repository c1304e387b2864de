"""Beauty: the next product of 22,363 sequences, IDs only, the last one left out (ICLRec's split and figures).

A sequence's last item is the test, the one before it validation; what is before is learned from. The test
reads the history up to and with the validation item, and does not train again.
"""

from dataclasses import replace
from pathlib import Path

import torch

from benchmarks.sets.protocol import (
    NO_RERANK,
    Measured,
    Moment,
    Split,
    baseline,
    measured,
    ours,
    outcome,
    plain_histories,
    say,
    spec,
)
from contracts.errors import InputError
from contracts.model_params import Train
from models.baselines import popularity
from models.baselines.fitting import Fitting
from models.fusion import Catalogue
from models.histories import Seen
from models.profiles import Profiles
from models.scoring import Targets

FILE = "Beauty.txt"
WIDTH, LAYERS, HEADS, DROPOUT, LENGTH = 64, 2, 2, 0.5, 50
FITTING = Fitting(16, 3, 64, 0.001, 0.01, 5.0, 1)
KNOBS = {
    "popularity": FITTING,
    "itemcf": FITTING,
    "mf_bpr": Fitting(40, 5, 256, 0.003, 0.1, 5.0, 1),
    "lightgcn": Fitting(80, 5, 1024, 0.01, 0.0, 5.0, 1),
    "sasrec": Fitting(60, 4, 128, 0.002, 0.01, 5.0, 1, "events"),
    "bert4rec": Fitting(40, 5, 128, 0.002, 0.01, 5.0, 1),
}
OURS = Train(
    model="interest", fusion="attention", encoder="transformer", layers=LAYERS, heads=HEADS, dropout=DROPOUT,
    positions=True, profile=False, video_numbers=(), max_length=LENGTH, epochs=30, patience=4,
    batch_size=128, batch_of="events", learning_rate=0.002, weight_decay=0.01, clip_norm=5.0,
    ranking_weight=0.0, align_weight=0.0, anchor_weight=0.0, negatives=0, skip_below=0.2, id_dropout=0.0,
    horizon=1, half_life_days=0.0, warmup_epochs=1, seed=1, device="auto", precision="bf16", contexts=(),
    walk=0.0, rerank=NO_RERANK,
)  # fmt: skip
PUBLISHED = {"recall@10": 0.0744, "ndcg@10": 0.0403}  # ICLRec, its checkpoint run again


def measure(path: Path) -> tuple[dict, dict]:
    """HR@k (one target each: Recall@k) and NDCG@k of ours and of every baseline."""
    split = leave_last_out(read(path))
    sizes = spec(int((split.catalogue.id_row_V >= 0).sum()), WIDTH, LAYERS, HEADS, DROPOUT, LENGTH)
    models: dict[str, Measured] = {}
    for name, knobs in KNOBS.items():
        models[name] = outcome(baseline(name, split, sizes, knobs), split)
        say(name, models[name].means())
    models["ours"] = outcome(ours(split, replace(sizes, dropout=OURS.dropout), OURS), split)
    say("ours", models["ours"].means())
    figures: dict = {name: one.means() | {"training": one.trained()} for name, one in models.items()}
    figures["popularity_ties_for_the_target"] = popularity_as_published(split).means()
    best = models["ours"].means()
    return figures, {f"ours_over_iclrec_{m}": round(best[m] / value, 3) for m, value in PUBLISHED.items()}


def read(path: Path) -> list[list[int]]:
    """Each user's items, oldest first, counted from 0.

    Raises:
        InputError: the file is missing, a line is no list of numbers, or a sequence is shorter than three.
    """
    if not (path / FILE).is_file():
        raise InputError(f"{path / FILE} does not exist; give the folder that holds it")
    sequences = []
    for number, line in enumerate((path / FILE).read_text(encoding="utf-8").splitlines(), 1):
        words = line.split()
        if not all(word.isascii() and word.isdigit() and word != "0" for word in words):
            raise InputError(f"{path / FILE}, line {number}: not a user and items, whole numbers from 1 on")
        if len(words) < 4:
            items = max(len(words) - 1, 0)
            raise InputError(
                f"{path / FILE}, line {number}: {items} items; 3 are needed, to learn from, validate and test"
            )
        sequences.append([int(word) - 1 for word in words[1:]])
    if not sequences:
        raise InputError(f"{path / FILE} holds no sequence; get the release's own file")
    return sequences


def leave_last_out(sequences: list[list[int]]) -> Split:
    """The second protocol, for published tables only; a night is split by time."""
    videos = 1 + max(max(sequence) for sequence in sequences)
    past, later = (_moment(sequences, cut) for cut in (2, 1))
    trained_V = torch.bincount(past.histories.video_E, minlength=videos) > 0
    row_V = torch.where(trained_V, trained_V.cumsum(0) - 1, -1)
    none = torch.zeros(len(sequences), 0)
    catalogue = Catalogue({}, torch.zeros(videos, 0, dtype=torch.bool), row_V)
    return Split(catalogue, Profiles(none.long(), none), past, later, {})


def _moment(sequences: list[list[int]], cut: int) -> Moment:
    """Everything but the last `cut` items, and the first of these as the target."""
    kept = [sequence[:-cut] for sequence in sequences]
    histories = plain_histories(torch.tensor([*map(len, kept)]), torch.tensor([v for s in kept for v in s]))
    targets = Targets(torch.arange(len(kept)), torch.tensor([sequence[-cut] for sequence in sequences]))
    return Moment(histories, Seen(histories.offsets, histories.video_E), targets)


def popularity_as_published(split: Split) -> Measured:
    """Popularity with ties resolved for the target, as whoever published it did; ours breaks them by row."""
    past, later = split.past, split.later
    count_V = popularity(Seen(past.histories.offsets, past.histories.video_E), len(split.catalogue.id_row_V))
    own_P, above_P = count_V[later.targets.row_P], []
    for user_P, own in zip(later.targets.user_P.split(1024), own_P.split(1024), strict=True):
        score_PV = count_V.expand(len(user_P), -1).masked_fill(later.seen.mask(user_P, len(count_V)), -1.0)
        above_P.append((score_PV > own[:, None]).sum(1))
    return measured(1 + torch.cat(above_P), later.targets, [])
