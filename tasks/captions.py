"""The text of a video: caption and hashtags, cleaned so that encoders meet words.

The music title is left out: it tells what is heard, and a text vector that tells it too hides which of the
two a person goes by.
"""

import re
from collections.abc import Mapping
from typing import Any

import ftfy

LONGEST = 4000  # characters that are read of a text: more than the tokens that the encoders here take

# In the text's fingerprint: texts that were put together in another way have other vectors.
TEXT = {
    "of": ["caption", "hashtags"],
    "longest": LONGEST,
    "cleaned": f"ftfy {ftfy.__version__} NFKC, no addresses, hashtags as words",
}
UNICODE = ftfy.TextFixerConfig(normalization="NFKC")  # 𝓯𝓪𝓷𝓬𝔂 and ｗｉｄｅ letters are letters
ADDRESS = re.compile(r"(?:https?://|www\.)\S+", re.IGNORECASE)
HASHTAG = re.compile(r"(?<!\w)#\s*(\w+)")


def wording(record: Mapping[str, Any]) -> str:
    """What there is to read of a video's record, as it came; empty when there is nothing."""
    hashtags = (f"#{tag.lstrip('#')}" for tag in record["hashtags"] or ())
    return " ".join(filter(None, (record["caption"], *hashtags)))


def clean(text: str) -> str:
    """Mojibake and entities mended, addresses left out, hashtags as words; emoji stay: they say something.

    Only the beginning of a long text counts: a tokenizer's time grows with the square of a word's length.
    """
    mended = ADDRESS.sub(" ", ftfy.fix_text(text[:LONGEST], UNICODE))
    return " ".join(HASHTAG.sub(lambda tag: _words(tag[1]), mended).split())


def _words(tag: str) -> str:
    """`catVideos` and `cat_videos` in words."""
    spaced = "".join(
        f" {letter}" if letter.isupper() and before.islower() else letter
        for before, letter in zip(f" {tag}", tag, strict=False)
    )
    return spaced.replace("_", " ")
