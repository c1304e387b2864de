"""A fold: what is known when a day begins, and what should be recommended on that day."""

from dataclasses import dataclass

import torch
from torch import Tensor

from models.data.items import ItemTable
from models.data.targets import Targets
from models.data.users import UserData


@dataclass(frozen=True)
class Fold:
    """Model inputs as they are known when a day begins, with the targets of the day.

    Attributes:
        day: Counted from 1970. Only videos that are available on it are ranked. None: all are available.
        item_table: The catalogue.
        users: Sequences, profiles and seen items of all users.
        targets: Positives of the day that are new to the user and available.
    """

    day: int | None
    item_table: ItemTable
    users: UserData
    targets: Targets

    @property
    def available(self) -> Tensor:
        """Bool, the videos that can be recommended on the day."""
        if self.day is None:
            return torch.ones_like(self.item_table.id_row_V, dtype=torch.bool)
        return self.item_table.available_on(self.day)
