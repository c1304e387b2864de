"""The context of a request: what the platform knows when it serves, as codes.

An interaction is a request that was served. So its own context trains the ranking heads. Code 0 is "unknown".
"""

from collections.abc import Mapping, Sequence

import pyarrow as pa
import torch
from torch import Tensor

from models.data.inputs import Column, to_ints, vocabulary_codes
from models.data.sequences import HOURS_PER_DAY

SESSION_GAP_SECONDS = 30 * 60  # a longer time between the starts of two interactions separates sessions
# The known values of the contexts that are counted. Of a depth, it is the smallest one of its group.
COUNTED_CONTEXTS = {
    "hour": tuple(map(str, range(HOURS_PER_DAY))),
    "depth": ("1", "2", "4", "8", "16", "32"),
}


def request_codes(
    vocabularies: Mapping[str, Sequence[str]], columns: Mapping[str, Column], num_requests: int
) -> Tensor:
    """Return the code of each context of each request, [N, J]. 0 is unknown.

    Args:
        vocabularies: Context -> its known values.
        columns: Context -> its value in each request: the local hour, the depth within the session, or text.
            A context without a column is unknown.
        num_requests: N.
    """
    codes = torch.zeros(num_requests, len(vocabularies), dtype=torch.long)
    for position, (name, values) in enumerate(vocabularies.items()):
        if name in columns:
            column = columns[name]
            if name == "depth":
                column = pa.array(_depth_groups(to_ints(column)).numpy())
            codes[:, position] = vocabulary_codes(column, values)
    return codes


def session_depths(user_N: Tensor, timestamp_N: Tensor) -> Tensor:
    """Return the position of each interaction in its session, from 1.

    Args:
        user_N: User of each interaction. Those of a user follow each other, oldest first.
        timestamp_N: Start in seconds.
    """
    position_N = torch.arange(len(user_N))
    starts_N = torch.ones_like(user_N, dtype=torch.bool)
    starts_N[1:] = (user_N.diff() != 0) | (timestamp_N.diff() > SESSION_GAP_SECONDS)
    return position_N - (position_N * starts_N).cummax(0).values + 1 if len(user_N) else position_N


def first_requests(user_N: Tensor, request_NJ: Tensor, num_users: int) -> Tensor:
    """Return the context of the first request of each user, [U, J]. It is unknown for a user without one.

    Args:
        user_N: User of each request. Those of a user follow each other, oldest first.
        request_NJ: Codes of the contexts.
        num_users: U.
    """
    first_N = torch.ones_like(user_N, dtype=torch.bool)
    first_N[1:] = user_N.diff() != 0
    request_UJ = torch.zeros(num_users, request_NJ.shape[1], dtype=torch.long)
    request_UJ[user_N[first_N]] = request_NJ[first_N]
    return request_UJ


def _depth_groups(depth_N: Tensor) -> Tensor:
    """Return the smallest depth of the group of each depth. 0 and less stay unknown."""
    largest = int(COUNTED_CONTEXTS["depth"][-1])
    return torch.where(depth_N > 0, 2 ** depth_N.clamp(min=1).log2().floor().long(), 0).clamp(max=largest)
