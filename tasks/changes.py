"""Whose interest changed, and when, as far as their answers tell (models/drift.py).

Legend: B people, T events, M modalities, V videos, D width.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta

import torch
from torch import Tensor

from models import drift
from models.histories import Batch, Histories
from models.interest import InterestModel
from models.scoring import Scorer

LEAST_VIEWINGS = 20  # fewer tell nothing of a change
PEOPLE = 32  # read at a time
NEWEST_DAYS = 30  # an interest is looked at over so many days at most
EPOCH = date(1970, 1, 1)


@dataclass(frozen=True)
class Changes:
    """What was found of these users, who have viewings enough; None: there are no two days to tell apart."""

    users: Tensor
    found: drift.Drift | None

    def days(self) -> dict[int, date]:
        """User -> the day on which the interest changed, of those of whom that is likelier than not."""
        if self.found is None:
            return {}
        told = zip(self.users.tolist(), self.found.changed.tolist(), self.found.day.tolist(), strict=True)
        return {user: EPOCH + timedelta(days=day) for user, changed, day in told if changed}


@torch.no_grad()
def changes(scorer: Scorer, past: Histories, users: Tensor, alpha_BM: Tensor, viewings: int) -> Changes:
    """Look for a change in the newest `viewings` of these users, who go by the modalities by alpha_BM."""
    model = scorer.model.eval()
    enough_B = (past.lengths[users] >= LEAST_VIEWINGS) & alpha_BM.isfinite().all(1)
    users, alpha_BM = users[enough_B], alpha_BM[enough_B]
    if not isinstance(model, InterestModel) or not alpha_BM.numel():
        return Changes(users[:0], None)
    days = [_days(past.batch(users_B, viewings)) for users_B in users.split(PEOPLE)]
    day_K = torch.cat(days).unique()[1:][-NEWEST_DAYS:]
    if not len(day_K):
        return Changes(users, None)
    x_VMD, told = model.items(scorer.catalogue).x_VMD, []
    for users_B, weight_BM in zip(users.split(PEOPLE), alpha_BM.split(PEOPLE), strict=True):
        batch = past.batch(users_B, viewings)
        x_BTMD = x_VMD[batch.video_BT]
        share_BTM = weight_BM.unsqueeze(1) * x_BTMD.any(3)
        share_BTM = (share_BTM / share_BTM.sum(2, keepdim=True)).nan_to_num()  # of what a video has
        f_BTD = torch.einsum("btmd,btm->btd", x_BTMD, share_BTM) * x_BTMD.shape[3] ** -0.5
        answer_BT = model.answers(batch, scorer.catalogue.id_row_V)
        told.append(drift.log_evidence(f_BTD, answer_BT, batch, day_K))
    return Changes(users, drift.weigh(torch.cat(told), day_K))


def _days(batch: Batch) -> Tensor:
    return batch.day_BT[batch.mask_BT].unique()


def figures(found: Changes) -> Mapping[str, object]:
    """For metrics.json: how many were looked at, how many changed, and on which days."""
    days = sorted(found.days().values())
    by_day = {str(day): days.count(day) for day in sorted(set(days))}
    return {"people": len(found.users), "changed": len(days), "by_day": by_day}
