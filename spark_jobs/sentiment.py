"""What people wrote under a video, as one number a comment: how well they mean it.

VADER (Hutto & Gilbert, ICWSM 2014) is a lexicon of English words and emoji with rules for negation, emphasis
and contrast. It knows no other language, but takes words of others for its own (German "die"). So a comment
is unknown, not neutral, where the lexicon finds no word in it, or where it is long enough to be recognised as
not English. Only the beginning of a long comment is read: VADER's time grows with the square of the length,
and it reads an emoji as a phrase.
"""

from functools import cache
from importlib.metadata import version
from typing import Any

import pandas as pd
from pyspark.sql import DataFrame
from pyspark.sql import functions as F  # noqa: N812

LONGEST = 500  # characters that are read of a comment
LIBRARIES = ", ".join(f"{name} {version(name)}" for name in ("vadersentiment", "py3langid"))
METHOD = f"{LIBRARIES}, first {LONGEST} characters"
WORDS = 3  # from which a language can be recognised: "lol" and "nice" are called Sotho and Croatian


def with_sentiment(events: DataFrame) -> DataFrame:
    """Adds `sentiment` (double in [-1, 1], null: unknown) by `comment_text`.

    Most events have no comment; they pass Python by.
    """
    written = F.coalesce(F.col("comment_text") != "", F.lit(False))
    scores = F.pandas_udf(_scores, "double")  # type: ignore[call-overload]
    scored = events.where(written).withColumn("sentiment", scores("comment_text"))
    return scored.unionByName(events.where(~written).withColumn("sentiment", F.lit(None).cast("double")))


def compound(text: str) -> float | None:
    """VADER's compound score in [-1, 1], in steps of 0.0001; None: unknown."""
    text = text[:LONGEST]
    found = _analyzer().polarity_scores(text)
    if found["pos"] == found["neg"] == 0:
        return None
    return found["compound"] if len(text.split()) < WORDS or _language(text) == "en" else None


def _scores(texts: pd.Series) -> pd.Series:
    return texts.map(compound).astype(float)


@cache
def _analyzer() -> Any:
    from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

    return SentimentIntensityAnalyzer()


def _language(text: str) -> str:
    import py3langid  # its model takes a moment to load

    return py3langid.classify(text)[0]
