"""What a mechanism decides: who the users and what the videos are, what is shown, and how it is watched.

`simulator/timeline.py` decides the rest for all mechanisms: who comes on a day, when, and on which device.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from simulator.calendar import Calendar
from simulator.catalogue import SimulatedVideo
from simulator.users import SimulatedUser
from simulator.watching import SimulatedInteraction


@dataclass
class Session:
    """One visit of a user.

    Attributes:
        user_row: number of the user in the list of all users.
        clock: epoch seconds at which the next video starts.
        hour: local hour of the start, 0 to 24.
        feed_source: where the next video was chosen from.
        theme: what the user is in the mood for, None if the mechanism has no themes.
        num_skips: videos that the user skipped at once.
    """

    day: int
    user_row: int
    clock: float
    hour: float
    device: str
    network: str
    feed_source: str = "platform"
    theme: int | None = None
    num_skips: int = 0


class Mechanism(Protocol):
    """The state of a simulated platform, and the rules that change it."""

    calendar: Calendar

    @property
    def users(self) -> Sequence[SimulatedUser]:
        """All users in order of arrival."""

    @property
    def videos(self) -> Sequence[SimulatedVideo]:
        """All videos in order of arrival, as the platform knows them."""

    def choose_feed(self, random: np.random.Generator, session: Session) -> Iterator[int]:
        """Yield the videos of a session, as rows of `videos`, until the user leaves.

        Each is chosen after the interaction with the one before was recorded.
        """

    def watch(
        self, random: np.random.Generator, session: Session, video_row: int, context: Mapping[str, Any]
    ) -> SimulatedInteraction:
        """Draw what the user does with a video that is shown.

        Args:
            context: `started_at`, `device`, `network` and `feed_position` of the interaction.
        """

    def record_interaction(
        self, random: np.random.Generator, session: Session, interaction: SimulatedInteraction
    ) -> None:
        """Change the state by an interaction that happened."""

    def end_day(self, day: int, interactions: Sequence[SimulatedInteraction]) -> None:
        """Change the state by the interactions of a day."""

    def modality_vectors(self) -> Mapping[str, np.ndarray]:
        """Return modality -> a feature vector for each video, [V, F]."""

    def summary(self) -> dict[str, Any]:
        """Return the ground truth that all users and videos share."""

    def user_truth(self, user_row: int) -> dict[str, Any]:
        """Return the ground truth of a user, with at least `drift_day` and `tastes`.

        `drift_day` is the day of an abrupt change, or None. `tastes` holds one vector for each day.
        """

    def video_truth(self, video_row: int) -> dict[str, Any]:
        """Return the ground truth of a video that only this mechanism has."""
