import numpy as np

from simulator.mechanisms.topic_users import affinity
from simulator.mechanisms.topics import Topics, make_topics
from simulator.timeline import simulate_days
from simulator.watching import SimulatedInteraction
from tests.support.simulated_platforms import small_calendar

CALENDAR = small_calendar(
    users=90, videos=90, history_days=4, nights=3, new_users_per_day=3, new_videos_per_day=4,
    outage_night=2, outage_share=0.1,
)  # fmt: skip


def _run_simulation() -> tuple[Topics, list[list[SimulatedInteraction]]]:
    simulation = make_topics(CALENDAR)
    return simulation, list(simulate_days(simulation))


SIMULATION, DAYS = _run_simulation()


def test_an_active_user_has_fifteen_to_thirty_interactions_a_day():
    active_users = {interaction.user.user_id for interaction in DAYS[1]}
    assert len(active_users) > 40
    assert 15 < len(DAYS[1]) / len(active_users) < 30


def test_few_users_are_active_on_the_outage_day():
    num_active = [len({interaction.user.user_id for interaction in day}) for day in DAYS]
    assert num_active[CALENDAR.outage_day] < 0.3 * min(num_active[:-2])
    assert num_active[CALENDAR.outage_day] > 0


def test_interactions_follow_registration_and_upload_and_stay_in_their_day():
    for number, day in enumerate(DAYS):
        midnight = CALENDAR.midnight(number).timestamp()
        for interaction in day:
            assert interaction.started_at > interaction.user.registration_time.timestamp()
            assert interaction.started_at > interaction.video.upload_time.timestamp()
            assert (
                midnight
                <= interaction.started_at
                < interaction.started_at + interaction.total_seconds
                < midnight + 86_400
            )


def test_new_users_and_new_videos_have_interactions_on_their_first_day():
    assert any(interaction.user.arrival_day == 2 for interaction in DAYS[2])
    assert any(interaction.video.arrival_day == 2 for interaction in DAYS[2])


def test_users_are_active_around_their_peak_hour():
    local = {}
    for interaction in (
        interaction for day in DAYS for interaction in day if interaction.user.arrival_day == 0
    ):
        user = interaction.user
        hour = (interaction.started_at / 3600 + user.utc_offset_minutes / 60) % 24
        local.setdefault(user.peak_hour, []).append((hour - user.peak_hour + 12) % 24 - 12)
    assert all(abs(np.median(gaps)) < 1 for gaps in local.values())


def test_the_true_affinity_predicts_better_than_popularity():
    """Compares NDCG@10 of unseen positives in a full ranking."""
    scores: dict[str, list[float]] = {"popularity": [], "oracle": []}
    row = {user.user_id: number for number, user in enumerate(SIMULATION.users)}
    column = {video.video_id: number for number, video in enumerate(SIMULATION.videos)}
    seen = np.zeros((len(row), len(column)), bool)
    view_counts = np.zeros(len(column))
    for number, day in enumerate(DAYS):
        available = np.array([video.arrival_day <= number for video in SIMULATION.videos])
        targets: dict[int, set[int]] = {}
        for interaction in day:
            cell = row[interaction.user.user_id], column[interaction.video.video_id]
            if not seen[cell] and (interaction.watched_ms or 0) >= interaction.video.duration_ms / 2:
                targets.setdefault(cell[0], set()).add(cell[1])
        if number in (2, 3, 4):
            for user, positives in targets.items():
                true_affinity = affinity(
                    SIMULATION.users[user], number, np.zeros(12), SIMULATION.video_arrays.topics
                )
                for name, score in (("popularity", view_counts), ("oracle", true_affinity)):
                    scores[name].append(_ndcg(np.where(available & ~seen[user], score, -np.inf), positives))
        for interaction in day:
            seen[row[interaction.user.user_id], column[interaction.video.video_id]] = True
            view_counts[column[interaction.video.video_id]] += 1
    popularity, oracle = np.mean(scores["popularity"]), np.mean(scores["oracle"])
    assert oracle > 1.5 * popularity
    assert oracle > 0.35


def _ndcg(score: np.ndarray, positives: set[int], k: int = 10) -> float:
    gains = 1 / np.log2(np.arange(2, k + 2))
    hits = np.isin(np.argsort(-score, kind="stable")[:k], list(positives))
    return float((hits * gains).sum() / gains[: min(k, len(positives))].sum())
