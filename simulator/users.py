"""What the users of every mechanism have: a profile, a registration time and habits."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import numpy as np

from simulator.calendar import Calendar

AGE_BANDS = ("13-17", "18-24", "25-34", "35-49", "50+")
CITY_TIERS = ("1", "2", "3", "4")
DEVICES = ("android", "ios", "tablet")
PROFILE_VALUES = {"age_band": AGE_BANDS, "city_tier": CITY_TIERS, "device": DEVICES}
UTC_OFFSETS = (0, 60, 120, 480)
PEAK_HOURS = (8.0, 13.0, 21.0)  # local time


@dataclass(frozen=True, kw_only=True)
class SimulatedUser:
    """A user. The platform knows only `to_record`. A mechanism adds the user's taste.

    Attributes:
        modality_weights: [3] weight of each of MODALITIES; they sum to 1.
        visit_probability: probability to come on a day.
        mean_sessions: mean number of sessions on such a day.
        peak_hour: local hour around which the sessions start.
    """

    user_id: str
    profile: dict[str, str]
    registration_time: datetime
    arrival_day: int
    modality_weights: np.ndarray
    visit_probability: float
    mean_sessions: float
    peak_hour: float
    utc_offset_minutes: int

    def to_record(self) -> dict[str, object]:
        """Return the user's row in the landing file."""
        return {"user_id": self.user_id, "registration_time": self.registration_time, **self.profile}


def make_user_id(number: int) -> str:
    """Return the id of a user."""
    return f"syn-u{number:05d}"


def draw_profile(random: np.random.Generator) -> dict[str, str]:
    """Draw the profile columns."""
    return {
        "age_band": str(random.choice(AGE_BANDS, p=[0.14, 0.3, 0.28, 0.18, 0.1])),
        "city_tier": str(random.choice(CITY_TIERS)),
        "device": str(random.choice(DEVICES, p=[0.5, 0.35, 0.15])),
    }


def draw_registration_time(random: np.random.Generator, arrival_day: int, calendar: Calendar) -> datetime:
    """Draw a time in the first half of the arrival day.

    Users who exist from the start registered up to 300 days earlier.
    """
    seconds = int(random.integers(12 * 3600)) - (
        int(random.integers(1, 301)) * 86_400 if arrival_day == 0 else 0
    )
    return calendar.midnight(arrival_day) + timedelta(seconds=seconds)


def draw_habits(random: np.random.Generator) -> dict[str, Any]:
    """Draw when and how often a user comes: the last four fields of `SimulatedUser`."""
    return {
        "visit_probability": float(random.beta(6, 2.5)),
        "mean_sessions": 1 + float(random.exponential(0.6)),
        "peak_hour": float(random.choice(PEAK_HOURS, p=[0.2, 0.25, 0.55])),
        "utc_offset_minutes": int(random.choice(UTC_OFFSETS, p=[0.2, 0.2, 0.1, 0.5])),
    }


def softmax(values: np.ndarray) -> np.ndarray:
    """Return weights that sum to 1."""
    exponents = np.exp(values - values.max())
    return exponents / exponents.sum()
