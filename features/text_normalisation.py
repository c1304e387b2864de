"""The text of a video: its caption and hashtags, normalised to plain words for the encoders.

The music title is left out because it describes the sound. In the text vector it would hide whether a user
prefers text or audio.
"""

import re
from collections.abc import Mapping
from typing import Any

import ftfy

MAX_CHARACTERS = 4000  # longer than any text that the encoders here can read

# Part of the fingerprint of text vectors. Another normalisation gives other vectors.
TEXT_FINGERPRINT = {
    "of": ["caption", "hashtags"],
    "longest": MAX_CHARACTERS,
    "cleaned": f"ftfy {ftfy.__version__} NFKC, no addresses, hashtags as words",
}
FTFY_CONFIG = ftfy.TextFixerConfig(normalization="NFKC")  # 𝓯𝓪𝓷𝓬𝔂 and ｗｉｄｅ letters become plain
URL = re.compile(r"(?:https?://|www\.)\S+", re.IGNORECASE)
HASHTAG = re.compile(r"(?<!\w)#\s*(\w+)")


def raw_text(record: Mapping[str, Any]) -> str:
    """Return the caption and the hashtags of a video's record, unmodified. Empty if there are none."""
    hashtags = (f"#{tag.lstrip('#')}" for tag in record["hashtags"] or ())
    return " ".join(filter(None, (record["caption"], *hashtags)))


def normalise_text(text: str) -> str:
    """Normalise a text: repair mojibake and HTML entities, delete URLs, turn hashtags into words.

    Emoji stay because they have meaning. Only the first MAX_CHARACTERS are used, because the time of a
    tokenizer grows with the square of a word's length.
    """
    fixed = URL.sub(" ", ftfy.fix_text(text[:MAX_CHARACTERS], FTFY_CONFIG))
    return " ".join(HASHTAG.sub(lambda tag: _split_hashtag(tag[1]), fixed).split())


def _split_hashtag(tag: str) -> str:
    """Split `catVideos` or `cat_videos` into words."""
    spaced = "".join(
        f" {letter}" if letter.isupper() and previous.islower() else letter
        for previous, letter in zip(f" {tag}", tag, strict=False)
    )
    return spaced.replace("_", " ")
