"""Detect interest drift of users from their engagement residuals.

The statistics are in models/evaluation/interest_drift.py.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta

import torch
from torch import Tensor

from models.data.sequences import SequenceBatch, Sequences
from models.evaluation import interest_drift
from models.evaluation.scoring import Scorer
from models.interest_model import InterestModel

MIN_INTERACTIONS = 20  # too few to judge a user below this
USERS_PER_BATCH = 32
MAX_DAYS = 30  # a change is searched for on so many newest days
EPOCH = date(1970, 1, 1)


@dataclass(frozen=True)
class UserInterestDrift:
    """The interest drift of the users with enough interactions.

    Attributes:
        users: [B] rows of these users in the data set.
        posterior: The probabilities for each user and day. None if the interactions span fewer than two days.
    """

    users: Tensor
    posterior: interest_drift.InterestDrift | None

    def drift_days(self) -> dict[int, date]:
        """Return user -> most likely day of the drift, for users whose drift is more likely than not."""
        if self.posterior is None:
            return {}
        rows = zip(
            self.users.tolist(),
            self.posterior.has_drifted.tolist(),
            self.posterior.most_likely_day.tolist(),
            strict=True,
        )
        return {user: EPOCH + timedelta(days=day) for user, changed, day in rows if changed}


@torch.no_grad()
def detect_interest_drift(
    scorer: Scorer, sequences: Sequences, users: Tensor, alpha_BM: Tensor, max_length: int
) -> UserInterestDrift:
    """Detect interest drift in the newest interactions of some users.

    Args:
        scorer: The model and the videos.
        sequences: The sequences of all users.
        users: [B] the users to judge.
        alpha_BM: Their modality weights. A user without finite weights is not judged.
        max_length: How many newest interactions of a user are read.

    Returns:
        No users for a baseline or a model without modalities.
    """
    model = scorer.model.eval()
    enough_B = (sequences.lengths[users] >= MIN_INTERACTIONS) & alpha_BM.isfinite().all(1)
    users, alpha_BM = users[enough_B], alpha_BM[enough_B]
    if not isinstance(model, InterestModel) or not alpha_BM.numel():
        return UserInterestDrift(users[:0], None)
    days = [
        _interaction_days(sequences.padded_batch(users_B, max_length))
        for users_B in users.split(USERS_PER_BATCH)
    ]
    day_Y = torch.cat(days).unique()[1:][-MAX_DAYS:]
    if not len(day_Y):
        return UserInterestDrift(users, None)
    x_VMD, log_evidence = model.encode_items(scorer.item_table).x_VMD, []
    for users_B, weight_BM in zip(users.split(USERS_PER_BATCH), alpha_BM.split(USERS_PER_BATCH), strict=True):
        batch = sequences.padded_batch(users_B, max_length)
        x_BTMD = x_VMD[batch.video_BT]
        weight_BTM = weight_BM.unsqueeze(1) * x_BTMD.any(3)
        weight_BTM = (
            weight_BTM / weight_BTM.sum(2, keepdim=True)
        ).nan_to_num()  # over the modalities of a video
        f_BTD = torch.einsum("btmd,btm->btd", x_BTMD, weight_BTM) * x_BTMD.shape[3] ** -0.5
        residual_BT = model.engagement_residual(batch, scorer.item_table.id_row_V)
        log_evidence.append(interest_drift.drift_log_evidence(f_BTD, residual_BT, batch, day_Y))
    return UserInterestDrift(users, interest_drift.drift_posterior(torch.cat(log_evidence), day_Y))


def _interaction_days(batch: SequenceBatch) -> Tensor:
    return batch.day_BT[batch.mask_BT].unique()


def summarise(user_drift: UserInterestDrift) -> Mapping[str, object]:
    """Count judged users, users with drift, and drifts per day, for metrics.json."""
    days = sorted(user_drift.drift_days().values())
    users_by_day = {str(day): days.count(day) for day in sorted(set(days))}
    return {
        "num_users": len(user_drift.users),
        "num_drifted_users": len(days),
        "users_by_day": users_by_day,
    }
