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

import pandas as pd
from pyspark.sql import DataFrame
from pyspark.sql import functions as F  # noqa: N812

MAX_CHARACTERS = 500  # characters that are read of a comment
LIBRARIES = ", ".join(f"{name} {version(name)}" for name in ("vadersentiment", "py3langid"))
METHOD = f"{LIBRARIES}, first {MAX_CHARACTERS} characters"
MIN_WORDS = 3  # shorter texts get a wrong language: "lol" is taken for Sotho, "nice" for Croatian


def with_sentiment(events: DataFrame) -> DataFrame:
    """Add `sentiment` (double in [-1, 1], null: unknown) of `comment_text`.

    Only events with a comment go through Python, because most have none.
    """
    written = F.coalesce(F.col("comment_text") != "", F.lit(False))
    scores = F.pandas_udf(_compound_scores, "double")  # type: ignore[call-overload]
    scored = events.where(written).withColumn("sentiment", scores("comment_text"))
    return scored.unionByName(events.where(~written).withColumn("sentiment", F.lit(None).cast("double")))


def compound_score(text: str) -> float | None:
    """Return VADER's compound score in [-1, 1] with four decimals, or None if it is unknown."""
    text = text[:MAX_CHARACTERS]
    polarity = _analyzer().polarity_scores(text)
    if polarity["pos"] == polarity["neg"] == 0:
        return None
    return polarity["compound"] if len(text.split()) < MIN_WORDS or _language(text) == "en" else None


def _compound_scores(texts: pd.Series) -> pd.Series:
    return texts.map(compound_score).astype(float)


@cache
def _analyzer() -> Any:
    from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

    return SentimentIntensityAnalyzer()


def _language(text: str) -> str:
    import py3langid  # slow: it loads a model

    return py3langid.classify(text)[0]
