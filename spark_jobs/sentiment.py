"""The sentiment of a comment as one number.

VADER (Hutto & Gilbert, ICWSM 2014) is a lexicon of English words and emoji with rules for negation, emphasis
and contrast. It knows no other language and can misread foreign words, such as the German article "die".

So the sentiment is unknown, not neutral, in two cases: the lexicon has no word of the comment, or the comment
is long enough to be recognised as not English.

Only the beginning of a long comment is read. VADER's time grows with the square of the length, and it
replaces each emoji by a phrase.
"""

from functools import cache
from importlib.metadata import version
from typing import Any

import polars as pl

MAX_CHARACTERS = 500  # characters that are read of a comment
LIBRARIES = ", ".join(f"{name} {version(name)}" for name in ("vadersentiment", "py3langid"))
METHOD = f"{LIBRARIES}, first {MAX_CHARACTERS} characters"
MIN_WORDS = 3  # shorter texts get a wrong language: "lol" is taken for Sotho, "nice" for Croatian


def with_sentiment(comments: pl.DataFrame) -> pl.DataFrame:
    """Add `sentiment` (float in [-1, 1], null: unknown) of `comment_text`.

    The libraries read one text at a time, in Python. So each text is scored once, however often it occurs.
    """
    texts = comments["comment_text"].unique()
    scores = pl.Series("sentiment", [compound_score(text) for text in texts], pl.Float64)
    return comments.join(pl.DataFrame([texts, scores]), on="comment_text", how="left")


def compound_score(text: str) -> float | None:
    """Return VADER's compound score in [-1, 1] with four decimals, or None if it is unknown."""
    text = text[:MAX_CHARACTERS]
    polarity = _analyzer().polarity_scores(text)
    if polarity["pos"] == polarity["neg"] == 0:
        return None
    return polarity["compound"] if len(text.split()) < MIN_WORDS or _language(text) == "en" else None


@cache
def _analyzer() -> Any:
    from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

    return SentimentIntensityAnalyzer()


def _language(text: str) -> str:
    import py3langid  # slow: it loads a model

    return py3langid.classify(text)[0]
