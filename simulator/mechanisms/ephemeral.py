"""The mechanism `ephemeral`: `sessions`, but a video lives one to three days."""

from simulator.calendar import Calendar
from simulator.mechanisms.latent_users import make_latent_users
from simulator.mechanisms.latent_videos import make_latent_videos
from simulator.mechanisms.sessions import Sessions

LIFE_DAYS = (1.0, 3.0)
OLDEST_DAYS = 1.0  # no video has expired before day 0


def make_ephemeral(calendar: Calendar) -> Sessions:
    """Make the platform as it is at the start of day 0."""
    videos = make_latent_videos(calendar, OLDEST_DAYS, LIFE_DAYS)
    return Sessions(calendar=calendar, users=make_latent_users(calendar, videos), videos=videos)
