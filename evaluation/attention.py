"""Faithfulness of attention: does a recommendation depend on the events that attention reads most?

Attention is an explanation only if it does (Jain & Wallace, NAACL 2019, arXiv 1902.10186). The measure is
comprehensiveness (DeYoung et al., ACL 2020, arXiv 1911.03429): the drop of the log-probability of a user's
best video after a deletion of events.
"""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from core.config.model_half import EvaluateConfig
from models.data.sequences import SequenceBatch
from models.evaluation.metrics import classify_difference, paired_bootstrap
from models.evaluation.scoring import Scorer
from models.interest_model import InterestModel
from models.retrieval.full_ranking import users_per_chunk

DELETED_SHARE = 0.2  # of the events of a user
MIN_EVENTS, MAX_USERS = 5, 256  # shortest sequence from which events are deleted, and most users of the test
CHUNK_WEIGHTS = 1 << 25  # attention weights in memory at a time: 128 MiB for each layer and sequence
RANDOM_DRAWS = 5  # random deletions of each user, whose mean is compared


def measure_attention(scorer: Scorer, params: EvaluateConfig) -> dict:
    """Compare the deletion of the most attended events with other deletions of equal size.

    Args:
        scorer: The challenger with at most `MAX_USERS` users of at least `MIN_EVENTS` events, as
            `evaluation.sampled_users.restrict_to_users` returns it.
        params: Section `evaluate` of params.yaml.

    Returns:
        `model`, the name of the encoder or of the baseline, and `has_attention`. `num_users`,
        `deleted_share`, and `drop`, the mean drop of the log-probability of the best video for each way to
        delete events. `difference` is the drop for the most attended events minus that of each other way,
        paired by user. `is_faithful`: whether the interval of the difference from random events is above 0.
    """
    model, users = scorer.model, torch.arange(len(scorer.user_data.sequences.lengths))
    name = model.config.encoder if isinstance(model, InterestModel) else model.config.model
    attention_BT = event_attention(scorer, users)
    summary = {"model": name, "has_attention": attention_BT is not None, "deleted_share": DELETED_SHARE}
    if attention_BT is None or not len(users):
        return summary | {"num_users": 0, "drop": {}, "difference": {}, "is_faithful": False}
    drop_B = DeletionTest(scorer).drops(attention_BT, params.seed)
    most_B = drop_B.pop("most_attended")
    difference = {
        other: paired_bootstrap((most_B - x_B).double().numpy(), params.bootstrap_samples, params.seed)
        for other, x_B in drop_B.items()
    }
    return summary | {
        "num_users": len(users),
        "drop": {way: float(x_B.mean()) for way, x_B in {"most_attended": most_B, **drop_B}.items()},
        "difference": difference,
        "is_faithful": classify_difference(difference["random"]) == "better",
    }


@torch.no_grad()
def event_attention(scorer: Scorer, users_B: Tensor) -> Tensor | None:
    """Return how much the model reads of each event of these users, [B, T]. None without attention.

    The weights of a user take memory quadratic in T, so long sequences are read by a few users at a time.
    """
    model = scorer.model.eval()
    if not isinstance(model, InterestModel):
        return None
    items, profiles = model.encode_items(scorer.item_table), scorer.user_data.profiles
    length = scorer.batch(users_B).mask_BT.shape[1]
    chunks = users_B.split(max(1, CHUNK_WEIGHTS // (model.config.heads * (length + 1) ** 2)))
    parts = [
        model.event_attention(scorer.batch(users_b), profiles.select(users_b), items) for users_b in chunks
    ]
    padded = [F.pad(part_bT, (0, length - part_bT.shape[1])) for part_bT in parts if part_bT is not None]
    return torch.cat(padded) if padded else None


def deletion_mask(priority_BT: Tensor, batch: SequenceBatch) -> Tensor:
    """Return the share of each user's events with the highest priority, at least one event: bool [B, T]."""
    count_B1 = (batch.lengths * DELETED_SHARE).round().clamp(min=1)[:, None]
    priority_BT = priority_BT.masked_fill(~batch.mask_BT, -torch.inf)
    order_BT = priority_BT.argsort(dim=1, descending=True, stable=True)
    return (order_BT.argsort(1) < count_B1) & batch.mask_BT


class DeletionTest:
    """How the log-probability of each user's best video changes if events are deleted.

    The probability is a softmax of retrieval's scores over the videos that can be recommended.

    Args:
        scorer: The model with the users of the test.
    """

    def __init__(self, scorer: Scorer) -> None:
        self.scorer = scorer
        self.users_B = torch.arange(len(scorer.user_data.sequences.lengths))
        self.batch = scorer.batch(self.users_B)
        self.items: Any = scorer.model.eval().encode_items(scorer.item_table)
        self.log_p_B, self.best_B = self._log_probability(scorer, None)

    def drops(self, attention_BT: Tensor, seed: int) -> dict[str, Tensor]:
        """Return way to delete events -> drop of the log-probability of each user's best video, [B]."""
        generator = torch.Generator().manual_seed(seed)
        random = [self.drop(torch.rand(attention_BT.shape, generator=generator)) for _ in range(RANDOM_DRAWS)]
        position_BT = torch.arange(attention_BT.shape[1]).expand_as(attention_BT)
        return {
            "most_attended": self.drop(attention_BT),
            "newest": self.drop(position_BT.float()),
            "random": torch.stack(random).mean(0),
            "least_attended": self.drop(-attention_BT),
        }

    def drop(self, priority_BT: Tensor) -> Tensor:
        """Return the drop [B] without the events of the highest priority."""
        kept_E = ~deletion_mask(priority_BT, self.batch)[self.batch.mask_BT]
        data = self.scorer.user_data
        scorer = replace(self.scorer, user_data=replace(data, sequences=data.sequences.keep(kept_E)))
        return self.log_p_B - self._log_probability(scorer, self.best_B)[0]

    @torch.no_grad()
    def _log_probability(self, scorer: Scorer, video_B: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return the log-probability of one video of each user, and its row. None: the best video."""
        chunks = []
        for users_B in self.users_B.split(users_per_chunk(len(self.items))):
            score_BV, _ = scorer.model.score_items(scorer.encode_user(users_B, self.items), self.items)
            log_p_BV = scorer.masked(users_B, score_BV).log_softmax(1)
            row_B = log_p_BV.argmax(1) if video_B is None else video_B[users_B]
            chunks.append((log_p_BV.gather(1, row_B[:, None]).squeeze(1), row_B))
        log_p_B, row_B = (torch.cat(parts) for parts in zip(*chunks, strict=True))
        return log_p_B, row_B
