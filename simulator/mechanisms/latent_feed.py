"""Choose the next video of a session in the mechanism `sessions`: by platform, by theme, or by following."""

from dataclasses import dataclass

import numpy as np

from simulator.mechanisms.latent_videos import LatentVideo

SECONDS_PER_DAY = 86_400
LAST_CHANCE_SECONDS = 180  # a video is not shown so shortly before it expires
PUSH_WEIGHT = 12.0  # views that one unit of `push` stands for
ATTACHMENT_EXPONENT = 1.0  # of views so far in the weight of a video
VIEW_HALF_LIFE_DAYS = 4.0  # after which a view counts half
AGE_EXPONENT = 0.5  # how fast the platform loses interest in an old video
REPEAT_WEIGHT = 0.3  # of a video that the user was shown before
ESTIMATE_NOISE = 0.8  # of the platform's estimate of a taste
ESTIMATE_WEIGHT = 1.5  # of the estimate in the log-weight of a personalised video


@dataclass(frozen=True)
class LatentArrays:
    """What the feed needs of the videos, by row.

    Attributes:
        upload_V, expiry_V: epoch seconds; a video that stays never expires.
        previous_V: row of the episode before, −1 if there is none.
    """

    upload_V: np.ndarray
    expiry_V: np.ndarray
    push_V: np.ndarray
    quality_V: np.ndarray
    creator_V: np.ndarray
    theme_V: np.ndarray
    content_VMK: np.ndarray
    previous_V: np.ndarray

    def is_available(self, clock: float) -> np.ndarray:
        """Return whether each video can be shown at a moment, [V]."""
        return (self.upload_V <= clock) & (clock + LAST_CHANCE_SECONDS < self.expiry_V)


def to_latent_arrays(videos: list[LatentVideo]) -> LatentArrays:
    """Collect in arrays what the feed needs of the videos."""
    row_by_episode = {(video.series, video.episode): row for row, video in enumerate(videos) if video.episode}
    return LatentArrays(
        upload_V=np.array([video.upload_time.timestamp() for video in videos]),
        expiry_V=np.array(
            [np.inf if video.expires_at is None else video.expires_at.timestamp() for video in videos]
        ),
        push_V=np.array([video.push for video in videos]),
        quality_V=np.array([video.quality for video in videos]),
        creator_V=np.array([video.creator for video in videos]),
        theme_V=np.array([video.theme for video in videos]),
        content_VMK=np.stack([video.content_MK for video in videos]),
        previous_V=np.array(
            [row_by_episode.get((video.series, video.episode - 1), -1) for video in videos], int
        ),
    )


def popularity_log_weights(
    arrays: LatentArrays, clock: float, views_V: np.ndarray, seen_V: np.ndarray
) -> np.ndarray:
    """Return the log-weight with which the platform shows each video, [V].

    The rich get richer: the weight grows with the recent views. A heavy-tailed push starts them.
    """
    age_days_V = np.maximum(clock - arrays.upload_V, 0) / SECONDS_PER_DAY
    views_V = views_V + PUSH_WEIGHT * arrays.push_V * np.exp(0.3 * arrays.quality_V)
    return (
        ATTACHMENT_EXPONENT * np.log(views_V + 0.05)
        - AGE_EXPONENT * np.log1p(age_days_V)
        + np.log(REPEAT_WEIGHT) * seen_V
    )


def personalised_log_weights(
    random: np.random.Generator, affinity_V: np.ndarray, seen_V: np.ndarray
) -> np.ndarray:
    """Return the log-weight of each video in a feed ordered by a noisy estimate of the taste, [V]."""
    estimate_V = affinity_V + random.normal(scale=ESTIMATE_NOISE, size=affinity_V.shape)
    return ESTIMATE_WEIGHT * estimate_V + 4 * np.log(REPEAT_WEIGHT) * seen_V


def draw_row(random: np.random.Generator, log_weights_V: np.ndarray, allowed_V: np.ndarray) -> int | None:
    """Draw one of the allowed rows by its weight, None if no row is allowed."""
    rows = np.flatnonzero(allowed_V)
    if not len(rows):
        return None
    return int(rows[(log_weights_V[rows] + random.gumbel(size=len(rows))).argmax()])
