"""Interest drift is detected where it was planted, and no user with too little data is judged."""

from dataclasses import replace
from datetime import date, timedelta

import torch
from torch import Tensor

from evaluation import interest_drift
from models.data.sequences import SECONDS_PER_DAY, SeenItems, Sequences
from models.data.users import UserData
from models.evaluation.scoring import Scorer
from tests.support.model_inputs import BEHAVIOURS, make_item_table, make_model, make_profiles, make_sequences

NUM_USERS, EVENTS_PER_DAY, DAYS = 8, 12, 8
DRIFT_DAY = 5  # from which on the users of odd rows like the opposite
USERS = torch.arange(NUM_USERS)


def planted(days: int = DAYS, events_per_day: int = EVENTS_PER_DAY) -> tuple[Scorer, Sequences]:
    """All users like or dislike each video by a taste in the model's own space."""
    interest_model = make_model(fusion="user", max_length=4)
    videos, T = make_item_table(), events_per_day * days
    sequences = make_sequences((T,) * NUM_USERS)
    day_E = (torch.arange(T) // events_per_day).repeat(NUM_USERS)
    x_VD = interest_model.encode_items(videos).x_VMD.mean(1).detach()
    taste_UD = torch.randn(NUM_USERS, x_VD.shape[1], generator=torch.Generator().manual_seed(4))
    user_E = USERS.repeat_interleave(T)
    sign_E = torch.where((user_E % 2 == 1) & (day_E >= DRIFT_DAY), -1.0, 1.0)
    engagement_E = (x_VD[sequences.video_E] * taste_UD[user_E]).sum(1) * sign_E
    behaviour_EA = torch.zeros(len(engagement_E), len(BEHAVIOURS), dtype=torch.bool)
    behaviour_EA[:, BEHAVIOURS.index("liked")] = engagement_E > 0
    behaviour_EA[:, BEHAVIOURS.index("disliked")] = engagement_E < 0
    sequences = replace(
        sequences,
        timestamp_E=day_E * SECONDS_PER_DAY,
        behaviour_EA=behaviour_EA,
        watch_ratio_E=torch.full_like(sequences.watch_ratio_E, torch.nan),
    )
    users = UserData(sequences, make_profiles(NUM_USERS), SeenItems(sequences.offsets, sequences.video_E))
    return Scorer(interest_model, videos, users), sequences


def detect(
    scorer: Scorer, sequences: Sequences, alpha_BM: Tensor | None = None, max_length: int = 999
) -> interest_drift.UserInterestDrift:
    alpha_BM = torch.full((NUM_USERS, 3), 1 / 3) if alpha_BM is None else alpha_BM
    return interest_drift.detect_interest_drift(scorer, sequences, USERS, alpha_BM, max_length)


def test_drifted_users_are_detected_with_their_day() -> None:
    drift = detect(*planted())
    drift_date = date(1970, 1, 1) + timedelta(days=DRIFT_DAY)
    assert drift.drift_days() == dict.fromkeys(range(1, NUM_USERS, 2), drift_date)
    assert interest_drift.summarise(drift) == {
        "num_users": NUM_USERS,
        "num_drifted_users": 4,
        "users_by_day": {str(drift_date): 4},
    }


def test_a_missing_modality_is_not_zero() -> None:
    scorer, sequences = planted()
    has_VM = torch.zeros_like(scorer.item_table.has_VM)
    has_VM[1:, 0] = True  # pictures only; the first video has nothing
    scorer = replace(scorer, item_table=replace(scorer.item_table, has_VM=has_VM))
    drift = [
        detect(scorer, sequences, torch.tensor(weight_M).expand(NUM_USERS, -1)).posterior
        for weight_M in ([1.0, 0.0, 0.0], [0.2, 0.3, 0.5])
    ]
    assert drift[0] is not None
    assert drift[1] is not None
    assert torch.allclose(drift[0].drift_probability_BY, drift[1].drift_probability_BY, atol=1e-4)
    assert torch.allclose(drift[0].no_drift_probability_B, drift[1].no_drift_probability_B, atol=1e-4)


def test_only_the_newest_interactions_are_read() -> None:
    scorer, sequences = planted()
    after = detect(scorer, sequences, max_length=(DAYS - DRIFT_DAY) * EVENTS_PER_DAY)
    assert len(after.users) == NUM_USERS
    assert date(1970, 1, 1) + timedelta(days=DRIFT_DAY) not in after.drift_days().values()


def test_no_user_is_judged_by_too_little_data() -> None:
    few = detect(*planted(days=3, events_per_day=interest_drift.MIN_INTERACTIONS // 3))
    assert interest_drift.summarise(few) == {"num_users": 0, "num_drifted_users": 0, "users_by_day": {}}
    one_day = detect(*planted(days=1, events_per_day=interest_drift.MIN_INTERACTIONS))
    assert interest_drift.summarise(one_day) == {
        "num_users": NUM_USERS,
        "num_drifted_users": 0,
        "users_by_day": {},
    }
    no_content = detect(*planted(), alpha_BM=torch.zeros(NUM_USERS, 0))
    assert interest_drift.summarise(no_content) == {
        "num_users": 0,
        "num_drifted_users": 0,
        "users_by_day": {},
    }


def test_a_user_without_modality_weights_is_not_judged() -> None:
    alpha_BM = torch.full((NUM_USERS, 3), 1 / 3)
    alpha_BM[0] = torch.nan
    drift = detect(*planted(), alpha_BM=alpha_BM)
    assert 0 not in drift.users.tolist()
    assert sorted(drift.drift_days()) == list(range(1, NUM_USERS, 2))
