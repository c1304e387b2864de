"""MovieLens-100K and -1M (GroupLens research terms): ratings with real time stamps, no media.

Three forms of the release are read. The files in the folder select the form:

| form | ratings | films | users |
|---|---|---|---|
| 100K of GroupLens | `u.data` (tabs) | `u.item` (bars, Latin-1) | `u.user` (bars) |
| 100K in RecBole's form | `ml-100k.inter` (tabs) | `ml-100k.item` (tabs) | `ml-100k.user` (tabs) |
| 1M of GroupLens | `ratings.dat` (`::`) | `movies.dat` (`::`, Latin-1) | `users.dat` (`::`) |

| table | column | becomes |
|---|---|---|
| ratings | user, film | `user_id`, `video_id` |
| | timestamp (epoch seconds) | `event_time`, and the day received |
| | rating (1 to 5) | a `view` without `watch_ms`; with 4 or 5 also a `like`, with 1 or 2 a `dislike` |
| films | title with year | `caption`: `Toy Story (1995)` |
| | genres | `hashtags`; the first one is the `category` |
| users | `age`, `gender`, `occupation`, `zip_code` | profile columns of the same names (1M: as codes) |

The whole catalogue is received on the first day of the log. If a film arrived on the day of its first rating,
its presence would reveal to the model that it is about to be rated. A user is received on the day of the
user's first rating, or on the first day of the log. Upload and registration times are unknown.

A rating of a film that is not in the catalogue is rejected, and so is a second rating of a film by a user.

The evaluation splits by time: two dates divide the ratings at 60 % and 80 % into training, validation and
test. A sequence holds a user's ratings before the date. The targets are the films that the user gives 4 or 5
stars afterwards and has not rated before. The profile columns are `age` in the bands of AGE_BAND_STARTS,
`gender`, `occupation`, and the first digit of `zip_code` (the region).
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl
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
    require_files,
    utc_time,
)
from datasets.release_tables import CellType, ReleaseTable, TableForm, read_table
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

LIKE_RATING, DISLIKE_RATING = 4, 2  # at least, at most
SPLIT_SHARES = (0.6, 0.8)  # shares of the ratings before the first and the second date
AGE_BAND_STARTS = (18, 25, 35, 45, 50, 56)  # the age bands of MovieLens

RATINGS: dict[str, CellType] = {
    "user_id": pl.String,
    "item_id": pl.String,
    "rating": pl.Float64,
    "timestamp": pl.Float64,
}
PROFILE = ("age", "gender", "occupation", "zip_code")
USERS: dict[str, CellType] = dict.fromkeys(("user_id", *PROFILE), pl.String)
# u.item marks each genre in a column of its own.
GENRES = (
    *("unknown", "Action", "Adventure", "Animation", "Children's", "Comedy", "Crime", "Documentary"),
    *("Drama", "Fantasy", "Film-Noir", "Horror", "Musical", "Mystery", "Romance", "Sci-Fi", "Thriller"),
    *("War", "Western"),
)
ITEM_HEADER = ("item_id", "title", "release_date", "video_release_date", "imdb_url", *GENRES)


@dataclass(frozen=True)
class ReleaseForm:
    """How one form of the release writes its three tables.

    Attributes:
        files: The files of ratings, films and users.
        table_forms: The form of each file.
        suffixes: Column -> what RecBole writes after it.
        film_columns: The columns of the films.
        caption: The title with the year.
        genres: The genres as a list.
    """

    files: tuple[str, str, str]
    table_forms: tuple[TableForm, TableForm, TableForm]
    suffixes: Mapping[str, str]
    film_columns: Sequence[str]
    caption: pl.Expr
    genres: pl.Expr


def _grouplens(separator: str, *header: str, encoding: str = "utf-8") -> TableForm:
    return TableForm(separator, is_quoted=False, encoding=encoding, header=header)


def _genres_separated_by(separator: str, column: str) -> pl.Expr:
    return (
        pl.col(column).fill_null("").str.split(separator).list.eval(pl.element().filter(pl.element() != ""))
    )


FORMS = (
    ReleaseForm(
        files=("u.data", "u.item", "u.user"),
        table_forms=(
            _grouplens("\t", *RATINGS),
            _grouplens("|", *ITEM_HEADER, encoding="latin-1"),
            _grouplens("|", "user_id", "age", "gender", "occupation", "zip_code"),
        ),
        suffixes={},
        film_columns=("item_id", "title", *GENRES),
        caption=pl.col("title"),
        genres=pl.concat_list(
            pl.when(pl.col(genre) == "1").then(pl.lit(genre)) for genre in GENRES
        ).list.drop_nulls(),
    ),
    ReleaseForm(
        files=("ml-100k.inter", "ml-100k.item", "ml-100k.user"),
        table_forms=(TableForm("\t", is_quoted=False),) * 3,
        suffixes={"rating": "float", "timestamp": "float", "movie_title": "token_seq", "class": "token_seq"},
        film_columns=("item_id", "movie_title", "release_year", "class"),
        caption=pl.coalesce(pl.format("{} ({})", "movie_title", "release_year"), "movie_title"),
        genres=_genres_separated_by(" ", "class"),
    ),
    ReleaseForm(
        files=("ratings.dat", "movies.dat", "users.dat"),
        table_forms=(
            _grouplens("::", *RATINGS),
            _grouplens("::", "item_id", "title", "genres", encoding="latin-1"),
            _grouplens("::", "user_id", "gender", "age", "occupation", "zip_code"),
        ),
        suffixes={},
        film_columns=("item_id", "title", "genres"),
        caption=pl.col("title"),
        genres=_genres_separated_by("|", "genres"),
    ),
)
RECBOLE = FORMS[1]


@dataclass(frozen=True)
class Tables:
    """The tables of the release.

    Attributes:
        ratings: Columns of RATINGS.
        films: Columns `item_id`, `caption` and `genres`, which is a list.
        users: Columns of USERS.
    """

    ratings: ReleaseTable
    films: ReleaseTable
    users: ReleaseTable


def read_tables(path: Path) -> Tables:
    """Read the files of the release in the folder `path`.

    Raises:
        InputError: A file or column is missing, or a table has no row to use.
    """
    form = _find_form(path)
    rating_form, film_form, user_form = form.table_forms
    ratings_file, films_file, users_file = (path / name for name in form.files)
    ratings = read_table(ratings_file, _file_columns(RATINGS, form), rating_form)
    films = read_table(
        films_file,
        _file_columns(dict.fromkeys(form.film_columns, pl.String), form),
        film_form,
        optional=_file_columns(dict.fromkeys(form.film_columns[1:], pl.String), form),
    )
    users = read_table(
        users_file,
        _file_columns(USERS, form),
        user_form,
        optional=_file_columns(dict.fromkeys(PROFILE, pl.String), form),
    )
    films = films.reject_repeated("item_id").select(
        pl.col("item_id"), form.caption.alias("caption"), form.genres.alias("genres")
    )
    is_rating = pl.col("rating").is_between(1, 5)
    ratings = ratings.reject(~is_rating, "invalid_rating").reject_invalid_time("timestamp")
    return Tables(ratings.reject_unknown("item_id", films), films, users.reject_repeated("user_id"))


def _find_form(path: Path) -> ReleaseForm:
    """Return the form whose file of ratings is in the folder.

    Raises:
        InputError: No form has all its files there.
    """
    form = next((form for form in FORMS if (path / form.files[0]).exists()), RECBOLE)
    require_files(path, form.files)
    return form


def _file_columns(columns: Mapping[str, CellType], form: ReleaseForm) -> dict[str, CellType]:
    """Return the columns under their names in the file. RecBole writes `user_id:token`."""
    if form is not RECBOLE:
        return dict(columns)
    return {f"{name}:{form.suffixes.get(name, 'token')}": kind for name, kind in columns.items()}


def read_landing_form(path: Path) -> Release:
    """Read the release in the folder `path` and convert it to landing form.

    Raises:
        InputError: As `read_tables`.
    """
    tables = read_tables(path)
    ratings = tables.ratings.reject_repeated("user_id", "item_id")
    events = group_by_day(_events(ratings))
    first = first_day_by_id(events, "user_id")
    users: RecordsByDay = defaultdict(list)
    for user in tables.users.records():
        users[first.get(user["user_id"], min(events))].append(user)
    videos = [*map(_video, tables.films.records())]
    return Release(
        {"users": dict(sorted(users.items())), "videos": {min(events): videos}, "events": events},
        (ratings, tables.films, tables.users),
    )


def _events(ratings: ReleaseTable) -> Iterator[Record]:
    """Yield a view, and a like or dislike, for each rating by time, user and film."""
    for row in ratings.rows.sort("timestamp", "user_id", "item_id").iter_rows():
        user, item, rating, seconds = row
        for event_type in (
            ["view"] + ["like"] * (rating >= LIKE_RATING) + ["dislike"] * (rating <= DISLIKE_RATING)
        ):
            yield {
                "event_id": f"ml-{user}-{item}-{event_type}",
                "user_id": user,
                "video_id": item,
                "event_type": event_type,
                "event_time": utc_time(seconds),
            }


def _video(film: Record) -> Record:
    genres = film["genres"]
    return {
        "video_id": film["item_id"],
        "caption": film["caption"],
        "hashtags": genres,
        "category": genres[0] if genres else None,
    }


def read_split(path: Path, embed_texts: Callable[[list[Record]], tuple[Tensor, Tensor]]) -> SplitDataset:
    """Read the release and split it at two dates.

    Args:
        path: Folder of the release.
        embed_texts: Function from the films in landing form to their text embeddings [V, F], and whether
            each film has a text [V].

    Raises:
        InputError: As `read_tables`, or a row was rejected, or the ratings span too few days.
    """
    tables = read_tables(path)
    ratings_log = RatingsLog(tables)
    train, test = _split_by_time(ratings_log, tables.ratings.path)
    text_VF, has_V = embed_texts([*map(_video, tables.films.records())])
    id_row_V = trained_id_rows(train.sequences, ratings_log.videos)
    profiles, categories = make_user_profiles(tables.users.records())
    config_fields = {
        "modalities": {"text": text_VF.shape[1]},
        "encoder_fingerprints": {"text": "-"},
        "user_categorical_features": categories,
    }
    item_table = ItemTable({"text": text_VF}, has_V[:, None], id_row_V)
    return SplitDataset(item_table, profiles, train, test, config_fields)


def _split_by_time(ratings_log: "RatingsLog", file: Path) -> tuple[Fold, Fold]:
    """Return the training and the test fold."""
    valid_start, test_start = map(ratings_log.split_time, SPLIT_SHARES)
    first, last = int(ratings_log.second_E[0]), int(ratings_log.second_E[-1])
    if not first < valid_start < test_start <= last:
        raise InputError(
            f"{file}: the ratings span too few days for training, validation and test; "
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
        InputError: A row was rejected, or a rating names a user that is not in its file.
    """

    def __init__(self, tables: Tables) -> None:
        films, users = tables.films.require_complete(), tables.users.require_complete()
        ratings = tables.ratings.reject_unknown("user_id", users).require_complete()
        rows = ratings.rows.sort("timestamp", "item_id", maintain_order=True)
        self.users, self.videos = len(users.rows), len(films.rows)
        self.user_E = _row_numbers(rows["user_id"], users.rows["user_id"])
        self.video_E = _row_numbers(rows["item_id"], films.rows["item_id"])
        self.stars_E = torch.tensor(rows["rating"].to_numpy(), dtype=torch.float)
        self.second_E = torch.tensor(rows["timestamp"].cast(pl.Int64).to_numpy())

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


def _row_numbers(ids: pl.Series, all_ids: pl.Series) -> Tensor:
    """Return for each id its row in `all_ids`, which has every id once."""
    rows = pl.DataFrame({"id": all_ids}).with_row_index("row")
    numbered = pl.DataFrame({"id": ids}).join(rows, on="id", maintain_order="left")
    return torch.tensor(numbered["row"].cast(pl.Int64).to_numpy())


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
