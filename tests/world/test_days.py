import numpy as np

from tests.world.worlds import days
from world.audience import interest
from world.days import World, live, make_world
from world.viewing import Viewing

CALENDAR = days(
    users=90, videos=90, history_days=4, nights=3, new_users_per_day=3, new_videos_per_day=4,
    outage_night=2, outage_share=0.1,
)  # fmt: skip


def _lived() -> tuple[World, list[list[Viewing]]]:
    world = make_world(CALENDAR)
    return world, list(live(world))


WORLD, DAYS = _lived()


def test_an_ordinary_day_brings_fifteen_to_thirty_viewings_a_visitor():
    visitors = {viewing.person.user_id for viewing in DAYS[1]}
    assert len(visitors) > 40
    assert 15 < len(DAYS[1]) / len(visitors) < 30


def test_few_people_come_on_the_day_of_the_outage():
    come = [len({viewing.person.user_id for viewing in day}) for day in DAYS]
    assert come[CALENDAR.outage_day] < 0.3 * min(come[:-2])
    assert come[CALENDAR.outage_day] > 0


def test_nobody_watches_before_they_register_or_what_is_not_uploaded_or_on_another_day():
    for number, day in enumerate(DAYS):
        midnight = CALENDAR.midnight(number).timestamp()
        for viewing in day:
            assert viewing.started > viewing.person.registered.timestamp()
            assert viewing.started > viewing.video.upload_time.timestamp()
            assert midnight <= viewing.started < viewing.started + viewing.seconds < midnight + 86_400


def test_new_people_watch_and_new_videos_are_watched_on_the_day_they_come():
    assert any(viewing.person.arrives == 2 for viewing in DAYS[2])
    assert any(viewing.video.arrives == 2 for viewing in DAYS[2])


def test_people_come_at_their_own_hour():
    local = {}
    for viewing in (viewing for day in DAYS for viewing in day if viewing.person.arrives == 0):
        person = viewing.person
        hour = (viewing.started / 3600 + person.utc_offset_minutes / 60) % 24
        local.setdefault(person.peak_hour, []).append((hour - person.peak_hour + 12) % 24 - 12)
    assert all(abs(np.median(gaps)) < 1 for gaps in local.values())


def test_what_is_watched_tomorrow_follows_from_the_truth_far_better_than_from_popularity():
    """NDCG@10 of unseen liked videos, the whole catalogue ranked."""
    scores: dict[str, list[float]] = {"popularity": [], "oracle": []}
    row = {person.user_id: number for number, person in enumerate(WORLD.people)}
    column = {video.video_id: number for number, video in enumerate(WORLD.videos)}
    seen = np.zeros((len(row), len(column)), bool)
    views = np.zeros(len(column))
    for number, day in enumerate(DAYS):
        there = np.array([video.arrives <= number for video in WORLD.videos])
        targets: dict[int, set[int]] = {}
        for viewing in day:
            cell = row[viewing.person.user_id], column[viewing.video.video_id]
            if not seen[cell] and (viewing.watched_ms or 0) >= viewing.video.duration_ms / 2:
                targets.setdefault(cell[0], set()).add(cell[1])
        if number in (2, 3, 4):
            for user, wanted in targets.items():
                liking = interest(WORLD.people[user], number, np.zeros(12), WORLD.shelf.topics)
                for name, score in (("popularity", views), ("oracle", liking)):
                    scores[name].append(_ndcg(np.where(there & ~seen[user], score, -np.inf), wanted))
        for viewing in day:
            seen[row[viewing.person.user_id], column[viewing.video.video_id]] = True
            views[column[viewing.video.video_id]] += 1
    popularity, oracle = np.mean(scores["popularity"]), np.mean(scores["oracle"])
    assert oracle > 1.5 * popularity
    assert oracle > 0.35


def _ndcg(score: np.ndarray, wanted: set[int], k: int = 10) -> float:
    gains = 1 / np.log2(np.arange(2, k + 2))
    hits = np.isin(np.argsort(-score, kind="stable")[:k], list(wanted))
    return float((hits * gains).sum() / gains[: min(k, len(wanted))].sum())
