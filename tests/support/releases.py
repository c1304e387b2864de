"""Small releases of public data sets for tests, in the form of their own files."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

DAY = 86_400
INTER = "user_id:token\titem_id:token\trating:float\ttimestamp:float"
ITEM = "item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq"
USER = "user_id:token\tage:token\tgender:token\toccupation:token\tzip_code:token"


def write_beauty(folder: Path, *lines: str) -> Path:
    (folder / "Beauty.txt").write_text("".join(f"{line}\n" for line in lines))
    return folder


def write_movielens(folder: Path, users: int = 60, films: int = 24, days: int = 30) -> Path:
    """Write a release: women like films of the first half, men the others. Users rate on two days."""
    ratings = []
    for user in range(users):
        for day in (user * days // users, min(user * days // users + 5, days - 1)):
            for i in range(6):
                film = (user * 5 + day + i * 3) % films
                stars = 5 if (film < films // 2) == (user % 2 == 0) else 2
                ratings.append(f"{user}\t{film}\t{stars}\t{day * DAY + 60 * i + user}")
    tables = {
        "ml-100k.inter": [INTER, *ratings],
        "ml-100k.item": [ITEM, *(f"{i}\tfilm {i}\t1990\tDrama" for i in range(films))],
        "ml-100k.user": [USER, *(f"{u}\t30\t{'FM'[u % 2]}\twriter\t{u % 9}0210" for u in range(users))],
    }
    for name, lines in tables.items():
        (folder / name).write_text("\n".join(lines) + "\n")
    return folder


def write_movielens1m(folder: Path, *lines: str, users: int = 0, films: int = 0) -> Path:
    """Write MovieLens-1M's files. Women and men alternate; films of the first half are dramas."""
    (folder / "sequences.txt").write_text("".join(f"{line}\n" for line in lines))
    rows = (f"{u},{'FM'[u % 2]},25,{u % 3}" for u in range(1, 1 + (users or len(lines))))
    (folder / "users.csv").write_text("\n".join(["user,sex,age,occupation", *rows]) + "\n")
    last = films or max(int(item) for line in lines for item in line.split()[1:])
    rows = (
        f'{i},"Film {i}, The (1990)",{"Drama" if 2 * i <= last else "Action|War"}' for i in range(1, 1 + last)
    )
    (folder / "items.csv").write_text("\n".join(["item,title,genres", *rows]) + "\n")
    return folder


def write_tiktok(folder: Path, pairs: list[tuple[int, int, str]], videos: int = 12) -> Path:
    columns = dict(zip(("user_id", "video_id", "split"), zip(*pairs, strict=True), strict=True))
    table = pa.table({name: list(values) for name, values in columns.items()})
    pq.write_table(table, folder / "interactions.parquet")
    for name in ("image", "audio"):
        np.save(folder / f"{name}.npy", np.random.default_rng(0).normal(size=(videos, 4)).astype(np.float16))
    return folder


def tiktok_pairs_of_two_groups() -> list[tuple[int, int, str]]:
    """Pairs of two groups of users who watch different videos."""
    pairs = []
    for user in range(40):
        order = [user % 2 * 6 + (user + i) % 6 for i in range(6)]
        parts = ["train"] * 4 + ["validation", "test"]
        pairs += [(user, video, part) for video, part in zip(order, parts, strict=True)]
    return pairs
