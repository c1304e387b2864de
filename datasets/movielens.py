"""MovieLens-100K in RecBole's form (GroupLens research terms): ratings with real time stamps, no media.

| file | column | becomes |
|---|---|---|
| `ml-100k.inter` | `user_id`, `item_id` | `user_id`, `video_id` |
| | `timestamp` (epoch seconds) | `event_time`, and the day received |
| | `rating` (1 to 5) | a `view` without `watch_ms`; with 4 or 5 also a `like`, with 1 or 2 a `dislike` |
| `ml-100k.item` | `movie_title`, `release_year` | `caption`: `Toy Story (1995)` |
| | `class` (genres separated by spaces) | `hashtags`; the first one is the `category` |
| `ml-100k.user` | `age`, `gender`, `occupation`, `zip_code` | profile columns of the same names |

The whole catalogue is received on the first day of the log. If a film arrived on the day of its first rating,
its presence would reveal to the model that it is about to be rated. A user is received on the day of the
user's first rating. Upload and registration times are unknown.

The evaluation splits by time: two dates divide the ratings at 60 % and 80 % into training, validation and
test. A sequence holds a user's ratings before the date. The targets are the films that the user gives 4 or 5
stars afterwards and has not rated before. The profile columns are `age` in the bands of AGE_BAND_STARTS,
`gender`, `occupation`, and the first digit of `zip_code` (the region).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path

import pyarrow as pa
import torch
from torch import Tensor

from core.errors import InputError
from core.tables import BEHAVIOURS
from datasets.landing_form import (
    Record,
    RecordsByDay,
    Release,
    first_day_by_id,
    group_by_day,
    read_table,
    require_files,
    utc_time,
)
from datasets.split import (
    Fold,
    SplitDataset,
    categorical_profiles,
    make_fold,
    trained_id_rows,
    unseen_targets,
)
from models.data.items import ItemTable
from models.data.sequences import HOURS_PER_DAY, SECONDS_PER_DAY, Sequences
from models.data.users import UserProfiles

FILES = ("ml-100k.inter", "ml-100k.item", "ml-100k.user")
LIKE_RATING, DISLIKE_RATING = 4, 2  # at least, at most
SPLIT_SHARES = (0.6, 0.8)  # shares of the ratings before the first and the second date
AGE_BAND_STARTS = (18, 25, 35, 45, 50, 56)  # the age bands of MovieLens

RATINGS = {
    "user_id:token": pa.string(),
    "item_id:token": pa.string(),
    "rating:float": pa.float64(),
    "timestamp:float": pa.float64(),
}
ITEMS = dict.fromkeys(
    ("item_id:token", "movie_title:token_seq", "release_year:token", "class:token_seq"), pa.string()
)
USERS = dict.fromkeys(
    ("user_id:token", "age:token", "gender:token", "occupation:token", "zip_code:token"), pa.string()
)


@dataclass(frozen=True)
class Tables:
    """The files of the release, one record per row, in the order of the files."""

    ratings: list[Record]
    films: list[Record]
    users: list[Record]


def read_tables(path: Path) -> Tables:
    """Read the files of the release in the folder `path`.

    Raises:
        InputError: A file or column is missing, or a column has another type.
    """
    require_files(path, FILES)
    inter, item, user = (path / name for name in FILES)
    return Tables(
        read_table(inter, RATINGS, "\t"),
        read_table(item, ITEMS, "\t", nullable=list(ITEMS)[1:]),
        read_table(user, USERS, "\t", nullable=list(USERS)[1:]),
    )


def read_landing_form(path: Path) -> Release:
    """Read the release in the folder `path` and convert it to landing form.

    Raises:
        InputError: As `read_tables`.
    """
    tables = read_tables(path)
    events = group_by_day(_events(tables.ratings))
    first = first_day_by_id(events, "user_id")
    users: RecordsByDay = {day: [] for day in sorted(set(first.values()))}
    for record in map(_user, tables.users):
        if record["user_id"] in first:
            users[first[record["user_id"]]].append(record)
    videos = [*map(_video, tables.films)]
    return Release({"users": users, "videos": {min(events): videos}, "events": events})


def _events(ratings: list[Record]) -> Iterator[Record]:
    """Yield a view, and a like or dislike, for each rating by time, user and film."""
    for row in sorted(ratings, key=itemgetter("timestamp:float", "user_id:token", "item_id:token")):
        user, item, rating, seconds = (row[column] for column in RATINGS)
        for event_type in (
            ["view"] + ["like"] * (rating >= LIKE_RATING) + ["dislike"] * (rating <= DISLIKE_RATING)
        ):
            yield {
                "event_id": f"ml-{user}-{item}-{event_type}",
                "user_id": user,
                "video_id": item,
                "event_type": event_type,
                "event_time": utc_time(1000 * seconds),
            }


def _video(film: Record) -> Record:
    item, title, year, genres = (film[column] for column in ITEMS)
    hashtags = (genres or "").split()
    return {
        "video_id": item,
        "caption": f"{title} ({year})" if title and year else title,
        "hashtags": hashtags,
        "category": hashtags[0] if hashtags else None,
    }


def _user(user: Record) -> Record:
    return {column.partition(":")[0]: value for column, value in user.items()}


def read_split(path: Path, embed_texts: Callable[[list[Record]], tuple[Tensor, Tensor]]) -> SplitDataset:
    """Read the release and split it at two dates.

    Args:
        path: Folder of the release.
        embed_texts: Function from the films in landing form to their text embeddings [V, F], and whether
            each film has a text [V].

    Raises:
        InputError: As `read_tables`, or files do not match, or the ratings span too few days.
    """
    tables = read_tables(path)
    ratings_log = RatingsLog(tables, path)
    train, test = _split_by_time(ratings_log, path)
    text_VF, has_V = embed_texts([*map(_video, tables.films)])
    id_row_V = trained_id_rows(train.sequences, ratings_log.videos)
    profiles, categories = make_user_profiles([*map(_user, tables.users)])
    config_fields = {
        "modalities": {"text": text_VF.shape[1]},
        "encoder_fingerprints": {"text": "-"},
        "user_categorical_features": categories,
    }
    item_table = ItemTable({"text": text_VF}, has_V[:, None], id_row_V)
    return SplitDataset(item_table, profiles, train, test, config_fields)


def _split_by_time(ratings_log: "RatingsLog", path: Path) -> tuple[Fold, Fold]:
    """Return the training and the test fold."""
    valid_start, test_start = map(ratings_log.split_time, SPLIT_SHARES)
    first, last = int(ratings_log.second_E[0]), int(ratings_log.second_E[-1])
    if not first < valid_start < test_start <= last:
        raise InputError(
            f"{path / FILES[0]}: the ratings span too few days for training, validation and test; "
            "get the release's own file"
        )
    return ratings_log.fold(valid_start, test_start), ratings_log.fold(test_start, last + 1)


class RatingsLog:
    """All ratings in order of time. Users and films are numbered as in their files.

    Attributes:
        users: Number of users.
        videos: Number of films.
        user_E: User of each rating.
        video_E: Film of each rating.
        stars_E: Stars of each rating.
        second_E: Epoch seconds of each rating.

    Raises:
        InputError: A rating names a user or film that is not in its file.
    """

    def __init__(self, tables: Tables, path: Path) -> None:
        rows = sorted(tables.ratings, key=itemgetter("timestamp:float", "item_id:token"))
        self.users, self.videos = len(tables.users), len(tables.films)
        self.user_E = _row_numbers(rows, tables.users, "user_id:token", path / FILES[0], FILES[2])
        self.video_E = _row_numbers(rows, tables.films, "item_id:token", path / FILES[0], FILES[1])
        self.stars_E = torch.tensor([row["rating:float"] for row in rows])
        self.second_E = torch.tensor([int(row["timestamp:float"]) for row in rows])

    def split_time(self, share: float) -> int:
        """Return the midnight (epoch seconds) before which about this share of the ratings lies."""
        return int(self.second_E[int(share * len(self.second_E))]) // SECONDS_PER_DAY * SECONDS_PER_DAY

    def fold(self, start: int, end: int) -> Fold:
        """Make a fold: ratings before `start`, and as targets the positives from `start` to `end`.

        Films that the user rated before `start` are no targets.
        """
        known_sequences = self.sequences_of(self.second_E < start)
        is_target_E = (self.second_E >= start) & (self.second_E < end) & (self.stars_E >= LIKE_RATING)
        targets = unseen_targets(
            self.user_E[is_target_E], self.video_E[is_target_E], known_sequences, self.videos
        )
        return make_fold(known_sequences, targets)

    def sequences_of(self, mask_E: Tensor) -> Sequences:
        """Make sequences of some ratings. 4 or 5 stars are a like, 1 or 2 a dislike."""
        order = self.user_E[mask_E].argsort(stable=True)
        user_E, video_E, stars_E, second_E = (
            x[mask_E][order] for x in (self.user_E, self.video_E, self.stars_E, self.second_E)
        )
        behaviours = {
            "viewed": stars_E > 0,
            "liked": stars_E >= LIKE_RATING,
            "disliked": stars_E <= DISLIKE_RATING,
        }
        none_E = torch.zeros(len(video_E), dtype=torch.bool)
        unknown_E = torch.full((len(video_E),), torch.nan)
        return Sequences(
            offsets=torch.nn.functional.pad(torch.bincount(user_E, minlength=self.users).cumsum(0), (1, 0)),
            video_E=video_E,
            timestamp_E=second_E,
            hour_E=second_E // 3600 % HOURS_PER_DAY,
            watch_ratio_E=unknown_E,
            behaviour_EA=torch.stack([behaviours.get(name, none_E) for name in BEHAVIOURS], 1),
            sentiment_E=unknown_E,
            positive_E=behaviours["liked"],
        )


def _row_numbers(
    ratings: list[Record], records: list[Record], column: str, file: Path, other_file: str
) -> Tensor:
    """Return for each rating the row of its user or film in `records`, which `other_file` holds."""
    row_by_id = {record[column]: row for row, record in enumerate(records)}
    for rating in ratings:
        if rating[column] not in row_by_id:
            raise InputError(
                f"{file}: {column} {rating[column]!r} is not in {other_file}; use files of one release"
            )
    return torch.tensor([row_by_id[rating[column]] for rating in ratings])


def make_user_profiles(users: list[Record]) -> tuple[UserProfiles, dict[str, list[str]]]:
    """Make profiles from age band, gender, occupation and region of the postal code.

    Returns:
        The profiles, and column -> known values.
    """
    values_by_column = {
        "age_band": [_age_band(user["age"]) for user in users],
        "gender": [user["gender"] for user in users],
        "occupation": [user["occupation"] for user in users],
        "region": [user["zip_code"][:1] if user["zip_code"] else None for user in users],
    }
    return categorical_profiles(values_by_column)


def _age_band(age: str | None) -> str | None:
    return str(sum(int(age) >= start for start in AGE_BAND_STARTS)) if age and age.isdigit() else None
