"""Contexts of requests as codes."""

import pyarrow as pa
import torch

from models.data.request_contexts import COUNTED_CONTEXTS, first_requests, request_codes, session_depths

USER_N = torch.tensor([0, 0, 0, 2, 2])
TIMESTAMP_N = torch.tensor([0, 1800, 3601, 3700, 3701])


def test_the_depth_counts_the_interactions_of_a_session() -> None:
    assert session_depths(USER_N, TIMESTAMP_N).tolist() == [1, 2, 1, 1, 2]
    assert session_depths(USER_N[:0], TIMESTAMP_N[:0]).tolist() == []


def test_depths_are_grouped_by_powers_of_two_and_hours_are_not() -> None:
    columns = {"depth": pa.array([1, 3, 4, 900, None]), "hour": pa.array([0, 23, 24, None, 5])}
    codes = request_codes({name: COUNTED_CONTEXTS[name] for name in columns}, columns, 5)
    assert codes.tolist() == [[1, 1], [2, 24], [3, 0], [6, 0], [0, 6]]


def test_a_missing_column_and_an_unknown_value_are_unknown() -> None:
    vocabularies = {"device": ["phone", "tv"], "city_tier": ["1"]}
    codes = request_codes(vocabularies, {"device": pa.array(["tv", "fridge", None])}, 3)
    assert codes.tolist() == [[2, 0], [0, 0], [0, 0]]


def test_the_first_request_of_a_user_is_the_oldest() -> None:
    request_N1 = torch.tensor([[5], [6], [7], [8], [9]])
    assert first_requests(USER_N, request_N1, num_users=3).tolist() == [[5], [0], [8]]
    assert first_requests(USER_N[:0], request_N1[:0], num_users=2).tolist() == [[0], [0]]
