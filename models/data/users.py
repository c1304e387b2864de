"""What is known about users, as tensors."""

from dataclasses import dataclass

from torch import Tensor

from models.data.sequences import SeenItems, Sequences


@dataclass(frozen=True)
class UserProfiles:
    """Static profiles of users.

    Attributes:
        category_BJ: Index of the value of each categorical column. 0 is unknown.
        number_BQ: Standardised numbers. NaN is unknown.
    """

    category_BJ: Tensor
    number_BQ: Tensor

    def select(self, users_B: Tensor) -> "UserProfiles":
        """Return the profiles of these users."""
        return UserProfiles(self.category_BJ[users_B], self.number_BQ[users_B])


@dataclass(frozen=True)
class UserData:
    """Sequences, profiles and seen items of all users, in one order of users.

    `request_UJ` has the code of each context of the next request of a user. None: unknown.
    """

    sequences: Sequences
    profiles: UserProfiles
    seen: SeenItems
    request_UJ: Tensor | None = None
