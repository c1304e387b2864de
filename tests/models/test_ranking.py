"""What counts as having happened."""

import torch

from models.ranking import HEADS, outcomes
from tests.models.worlds import BEHAVIOURS


def test_outcomes_come_from_the_watched_share_where_known_and_from_the_log_always() -> None:
    ratio_N = torch.tensor([0.97, 0.1, 0.0])
    known_N = torch.tensor([True, True, False])
    did_NA = torch.zeros(3, len(BEHAVIOURS), dtype=torch.bool)
    did_NA[2, BEHAVIOURS.index("shared")] = True
    label_NH, there_NH = outcomes(ratio_N, known_N, did_NA, BEHAVIOURS, skip_below=0.2)
    happened = [{HEADS[h] for h in row.nonzero().flatten()} for row in label_NH & there_NH]
    assert happened == [{"complete"}, {"skip"}, {"share"}]
    assert {HEADS[h] for h in (~there_NH[2]).nonzero().flatten()} == {"complete", "skip"}
