"""The days of the world, one after the other: who comes when, and what they watch."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from world.audience import Culture, Person, interest, make_culture, make_people
from world.calendar import Calendar
from world.catalogue import Shelf, Video, make_videos, shelf
from world.feed import choose
from world.seeds import rng
from world.topics import TOPICS
from world.viewing import QUALITY, Viewing, watch

DAY_SECONDS = 86_400
MOOD = 0.3  # how much the time of day changes what one likes
DAYPARTS = 4
MIN_PLACES, MORE_PLACES = 8, 6  # videos shown in a visit: the least, and how many more on average
MAX_VISITS = 4
OTHER_DEVICE = 0.1
EVENING = 18  # local hour from which people are at home, on wifi


@dataclass
class World:
    """Everybody and everything in it, and what the feed has counted so far.

    mood: [4, 12] what each part of the day adds to the liking of each topic.
    seen: [U, V] shown to that person before. views: [V] views up to the end of the day before.
    """

    calendar: Calendar
    culture: Culture
    people: list[Person]
    videos: list[Video]
    shelf: Shelf
    mood: np.ndarray
    seen: np.ndarray = field(init=False)
    views: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        self.seen = np.zeros((len(self.people), len(self.videos)), bool)
        self.views = np.zeros(len(self.videos))


def make_world(calendar: Calendar) -> World:
    """The world on the morning of its first day."""
    seed = calendar.params.seed
    culture = make_culture(seed)
    videos = make_videos(seed, calendar)
    mood = MOOD * rng(seed, "mood").normal(size=(DAYPARTS, len(TOPICS)))
    return World(calendar, culture, make_people(seed, calendar, culture), videos, shelf(videos), mood)


def live(world: World) -> Iterator[list[Viewing]]:
    """Each day's viewings, by person and time. The world remembers what was seen."""
    for day in range(world.calendar.days):
        viewings = [
            viewing
            for row, person in enumerate(world.people)
            if person.arrives <= day
            for viewing in _person_day(world, day, row, person)
        ]
        for viewing in viewings:
            if viewing.watched_ms is not None:
                world.views[_row(viewing.video)] += 1
        yield viewings


def _person_day(world: World, day: int, row: int, person: Person) -> Iterator[Viewing]:
    """What a person watches on a day; nothing on a day they do not come."""
    random = rng(world.calendar.params.seed, "day", day, person.user_id)
    comes = random.random() < person.diligence
    if day == world.calendar.outage_day and random.random() >= world.calendar.params.outage_share:
        return
    if not comes:
        return
    midnight = world.calendar.midnight(day).timestamp()
    clock = max(midnight, person.registered.timestamp() + 60)
    for start in _visits(random, person):
        clock = max(midnight + start, clock + 60)
        for viewing in _visit(world, random, day, row, clock):
            if viewing.started + viewing.seconds > midnight + DAY_SECONDS - 60:
                return
            clock = viewing.started + viewing.seconds
            world.seen[row, _row(viewing.video)] = True
            yield viewing


def _visits(random: np.random.Generator, person: Person) -> list[float]:
    """When a person comes on a day: seconds after midnight (UTC), in order."""
    visits = min(1 + random.poisson(person.sessions - 1), MAX_VISITS)
    hours = person.peak_hour + random.normal(scale=1.5, size=visits) - person.utc_offset_minutes / 60
    return sorted(float(hour) * 3600 for hour in hours % 24)


def _visit(world: World, random: np.random.Generator, day: int, row: int, clock: float) -> Iterator[Viewing]:
    """One visit: the feed is made when it starts, then watched from the top."""
    person = world.people[row]
    hour = (clock / 3600 + person.utc_offset_minutes / 60) % 24
    mood = world.mood[int(hour * DAYPARTS / 24)]
    device = person.profile["device"] if random.random() >= OTHER_DEVICE else "android"
    network = "wifi" if hour >= EVENING or device == "tablet" else "mobile"
    shown = choose(
        random,
        MIN_PLACES + int(random.poisson(MORE_PLACES)),
        age_days=(clock - world.shelf.uploaded) / DAY_SECONDS,
        views=world.views,
        liking=interest(person, day, mood, world.shelf.topics) + QUALITY * world.shelf.quality,
        seen=world.seen[row],
    )
    for position, video in enumerate(shown):
        at = {"started": clock, "device": device, "network": network, "feed_position": position}
        viewing = watch(random, person, world.videos[video], day, mood, **at)
        clock += viewing.seconds
        yield viewing


def _row(video: Video) -> int:
    return int(video.video_id.removeprefix("syn-v"))
