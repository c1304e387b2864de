"""The item table: columns of the catalogue, rows that are selected, and the days of a video."""

from dataclasses import replace
from datetime import date

import pyarrow as pa
import torch

from models.data.inputs import build_item_table
from models.data.items import ALWAYS_AVAILABLE, ItemTable
from tests.support.model_inputs import make_item_table

CATALOGUE = pa.table(
    {
        "video_id": ["a", "b", "c", "d"],
        "author_id": pa.array(["x", None, "y", "x"]),
        "category": pa.array([None, "sport", "sport", "food"]),
        "duration_ms": pa.array([1500, None, 60_000, 20], pa.int64()),
        "upload_day": pa.array([date(1970, 1, 5), None, date(1970, 1, 7), date(1970, 1, 8)]),
        "available_until": pa.array([date(1970, 1, 6), None, date(1970, 1, 7), None]),
    }
)


def build(catalogue: pa.Table) -> ItemTable:
    return build_item_table(catalogue, {}, {}, ["c", "a"], {})


def test_columns_of_the_catalogue_become_codes_seconds_and_days() -> None:
    items = build(CATALOGUE)
    assert items.author_V.tolist() == [1, 0, 2, 1]
    assert items.category_V.tolist() == [0, 1, 1, 2]
    assert items.duration_V.nan_to_num(-1).tolist() == torch.tensor([1.5, -1, 60, 0.02]).tolist()
    assert items.available_until_V.tolist() == [5, ALWAYS_AVAILABLE, 6, ALWAYS_AVAILABLE]
    unknown = build(CATALOGUE.select(["video_id"]))
    assert unknown.author_V is unknown.category_V is unknown.duration_V is unknown.available_until_V is None


def test_attributes_become_codes_of_the_vocabulary() -> None:
    attributes = {"duration": ["0", "5"], "creator": ["y", "x"], "category": ["food"]}
    items = build_item_table(CATALOGUE, {}, {}, ["c", "a"], {}, attributes)
    # 1.5 s, unknown, 60 s and 20 ms; log2 of the seconds is 0, unknown, 5 and 0
    assert items.attribute_VA.tolist() == [[1, 2, 0], [0, 0, 0], [2, 1, 0], [1, 2, 1]]
    assert items.select(torch.tensor([2, -1])).attribute_VA.tolist() == [[2, 1, 0], [0, 0, 0]]
    no_columns = build_item_table(CATALOGUE.select(["video_id"]), {}, {}, ["c"], {}, attributes)
    assert not no_columns.attribute_VA.any()
    assert build(CATALOGUE).attribute_VA is None


def test_words_of_captions_become_codes_in_order() -> None:
    captions = ["The CAT, the dog!", None, "Größe 5 cat-5", "x"]
    catalogue = CATALOGUE.append_column("caption", pa.array(captions))
    words = ["5", "cat", "dog", "größe", "the"]
    items = build_item_table(catalogue, {}, {}, ["c", "a"], {}, words=words)
    expected = [[5, 2, 5, 3], [], [4, 1, 2, 1], []]
    assert [[code for code in row if code] for row in items.word_VX.tolist()] == expected
    assert items.word_VX[0, :4].tolist() == expected[0]
    assert not items.select(torch.tensor([0, -1])).word_VX[1].any()
    long = CATALOGUE.append_column("caption", pa.array(["cat " * 40] * 4))
    assert build_item_table(long, {}, {}, ["c"], {}, words=words).word_VX.eq(2).sum(1).tolist() == [16] * 4
    assert build(catalogue).word_VX is None
    assert not build_item_table(CATALOGUE, {}, {}, ["c"], {}, words=words).word_VX.any()


def test_a_column_of_nulls_is_unknown() -> None:
    items = build(
        pa.table({"video_id": ["a", "b"], "author_id": pa.nulls(2), "available_until": pa.nulls(2)})
    )
    assert items.author_V.tolist() == [0, 0]
    assert items.available_until_V.tolist() == [ALWAYS_AVAILABLE] * 2


def test_a_video_is_available_from_its_upload_to_its_last_day() -> None:
    items = build(CATALOGUE)
    assert items.available_on(3).tolist() == [False, True, False, False]
    assert items.available_on(5).tolist() == [True, True, False, False]
    assert items.available_on(6).tolist() == [False, True, True, False]
    assert items.available_on(9).tolist() == [False, True, False, True]
    assert replace(items, available_until_V=None).available_on(9).all()
    assert make_item_table().available_on(0).all()


def test_selected_rows_keep_their_columns_and_row_minus_1_has_none() -> None:
    items = build(CATALOGUE).select(torch.tensor([2, -1, 0]))
    assert items.id_row_V.tolist() == [0, -1, 1]
    assert items.author_V.tolist() == [2, 0, 1]
    assert items.category_V.tolist() == [1, 0, 0]
    assert items.duration_V.nan_to_num(-1).tolist() == [60, -1, 1.5]
    assert items.upload_day_V[[0, 2]].tolist() == [6, 4]
    assert items.available_until_V[[0, 2]].tolist() == [6, 5]
    assert make_item_table().select(torch.tensor([0])).author_V is None
