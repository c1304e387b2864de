"""The sentiment of a comment as one number.

English and comments of one or two words are scored by VADER (Hutto & Gilbert, ICWSM 2014). It is a lexicon of
English words and emoji with rules for negation, emphasis and contrast. It can misread foreign words, such as
the German article "die". So a comment that is long enough is first recognised as of a language.

The languages of `NEGATIONS` are scored by the lexicons of Chen & Skiena (ACL 2014), which the package asent
ships, with VADER's rule of negation and its normalisation. Their emoji are not read.

The sentiment is unknown, not neutral, in two cases: the comment has another language, or the lexicon has no
word of it.

Only the beginning of a long comment is read. VADER's time grows with the square of the length, and it
replaces each emoji by a phrase.
"""

import math
import re
from functools import cache
from importlib.metadata import distribution, version
from pathlib import Path
from typing import Any

import polars as pl

from core.hashing import hash_lines

MAX_CHARACTERS = 500  # characters that are read of a comment
LIBRARIES = ", ".join(f"{name} {version(name)}" for name in ("vadersentiment", "py3langid", "asent"))
MIN_WORDS = 3  # shorter texts get a wrong language: "lol" is taken for Sotho, "nice" for Croatian
NEGATIONS = {  # language -> the words that negate those after them
    "de": {"nicht", "kein", "keine", "keinen", "keiner", "nie", "ohne"},
    "es": {"no", "nunca", "sin", "ni", "tampoco"},
    "fr": {"ne", "n", "pas", "jamais", "sans", "aucun", "aucune"},
    "id": {"tidak", "bukan", "nggak", "gak", "jangan", "tanpa"},
    "it": {"non", "mai", "senza", "né"},
    "nl": {"niet", "geen", "nooit", "zonder"},
    "pt": {"não", "nao", "nunca", "sem", "nem"},
    "ru": {"не", "нет", "ни", "никогда", "без"},
}
# Function words, words of degree and English words to which the translated lexicons give a sign.
NO_VALENCE = {
    "de": "die nach oder mehr erste fast ganz kurz weit gerade eigentlich sin",
    "es": "como gran mayor poco cerca pues igual solo en este die",
    "fr": "très tout toute vraiment sur contre faire peu part temps seul petit long dire trop fin",
    "id": "seperti pertama besar hal cukup terutama die",
    "it": "in solo quasi spesso molto lungo contro tempo fatto caso",
    "nl": "die van aan als eerste waar wel zoals zelf toch snel geheel was heel veel",
    "pt": "como ser são já muito bastante grande maior de só né",
    "ru": "как так первый типа именно полностью просто сразу очень довольно",
}
NEGATED_WORDS = 3  # words after a negation that it reaches, as in VADER
NEGATED_SHARE = -0.74  # VADER's factor of a negated valence
NORMALISATION = 15.0  # VADER's alpha: a sum s of valences becomes s / √(s² + alpha)
RULES = hash_lines(
    [
        *(" ".join([language, *sorted(words)]) for language, words in NEGATIONS.items()),
        *(f"{language} {words}" for language, words in NO_VALENCE.items()),
        f"{MIN_WORDS} {NEGATED_WORDS} {NEGATED_SHARE} {NORMALISATION}",
    ]
)
METHOD = f"{LIBRARIES}, rules {RULES[:16]}, first {MAX_CHARACTERS} characters"


def with_sentiment(comments: pl.DataFrame) -> pl.DataFrame:
    """Add `sentiment` (float in [-1, 1], null: unknown) of `comment_text`.

    The libraries read one text at a time, in Python. So each text is scored once, however often it occurs.
    """
    texts = comments["comment_text"].unique()
    scores = pl.Series("sentiment", [compound_score(text) for text in texts], pl.Float64)
    return comments.join(pl.DataFrame([texts, scores]), on="comment_text", how="left")


def compound_score(text: str) -> float | None:
    """Return the compound score in [-1, 1] with four decimals, or None if it is unknown."""
    text = text[:MAX_CHARACTERS]
    language = _language(text) if len(text.split()) >= MIN_WORDS else "en"
    if language in NEGATIONS:
        return lexicon_score(text, language)
    return _vader_score(text) if language == "en" else None


def lexicon_score(text: str, language: str) -> float | None:
    """Return the compound score of a text by the lexicon of its language, or None if no word is in it.

    Args:
        text: a comment.
        language: one of `NEGATIONS`.
    """
    lexicon, negations = _lexicon(language), NEGATIONS[language]
    words = re.findall(r"[^\W\d_]+", text.lower())
    valences = []
    for position, word in enumerate(words):
        if word in lexicon:
            before = words[max(0, position - NEGATED_WORDS) : position]
            is_negated = not negations.isdisjoint(before)
            valences.append(lexicon[word] * (NEGATED_SHARE if is_negated else 1.0))
    total = sum(valences)
    return round(total / math.sqrt(total**2 + NORMALISATION), 4) if valences else None


def _vader_score(text: str) -> float | None:
    polarity = _analyzer().polarity_scores(text)
    return None if polarity["pos"] == polarity["neg"] == 0 else polarity["compound"]


@cache
def _analyzer() -> Any:
    from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

    return SentimentIntensityAnalyzer()


@cache
def _lexicon(language: str) -> dict[str, float]:
    """Return word -> valence, 1 or -1. The file is read without importing asent, which needs spaCy."""
    name = f"asent/lexicons/{language}_lexicon_chen_skiena_2014_v1.txt"
    lines = Path(str(distribution("asent").locate_file(name))).read_text(encoding="utf-8").splitlines()
    valences = {word: float(valence) for word, valence in (line.split("\t")[:2] for line in lines)}
    left_out = {*NO_VALENCE[language].split(), *NEGATIONS[language]}
    return {word: valence for word, valence in valences.items() if word not in left_out}


def _language(text: str) -> str:
    import py3langid  # slow: it loads a model

    return py3langid.classify(text)[0]
