"""Interactions with watch times, as the segment model reads them."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class InteractionLog:
    """Interactions in order of time.

    Attributes:
        user_E: Row of the user, from 0.
        video_E: Row of the video, from 0.
        watched_ms_E: How long the user watched, in milliseconds.
        duration_ms_E: Duration of the video, in milliseconds.
    """

    user_E: np.ndarray
    video_E: np.ndarray
    watched_ms_E: np.ndarray
    duration_ms_E: np.ndarray
