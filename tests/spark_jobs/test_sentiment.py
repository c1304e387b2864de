import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spark_jobs import sentiment
from spark_jobs.sentiment import compound_score, with_sentiment


@pytest.mark.parametrize(
    "text", ["love this, more please", "so good, best cat ever!", "😍😍", "lol", "not bad"]
)
def test_a_friendly_comment_scores_above_zero(text):
    assert compound_score(text) > 0.1


@pytest.mark.parametrize(
    "text", ["boring, what a waste of time", "not good at all", "worst cat I have seen", "ugh"]
)
def test_an_unfriendly_comment_scores_below_zero(text):
    assert compound_score(text) < -0.1


def test_emphasis_makes_a_score_stronger():
    assert (
        compound_score("this is good")
        < compound_score("this is good!!!")
        < compound_score("this is VERY good!!!")
    )


@pytest.mark.parametrize(
    "text", ["", "first!", "where is this?", "我喜欢这个", "c'est nul", "me encanta este gato"]
)
def test_a_comment_without_lexicon_words_is_unknown(text):
    assert compound_score(text) is None


@pytest.mark.parametrize("text", ["det er super fint", "çok güzel bir video super", "to jest super film"])
def test_words_of_a_language_without_a_lexicon_do_not_count(text):
    assert compound_score(text) is None
    assert sentiment._analyzer().polarity_scores(text)["compound"] != 0


@pytest.mark.parametrize(
    ("friendly", "unfriendly"),
    [
        ("das ist super schön", "das ist nicht gut"),
        ("qué gracioso, muy bueno", "no me gusta nada"),
        ("c'est un excellent travail", "je n'aime pas cette vidéo"),
        ("saya suka video ini", "kucing ini tidak cantik"),
        ("questo video è molto divertente", "questo video non è bello"),
        ("dit is een mooie kat", "ik vind dit niet leuk"),
        ("este vídeo é muito bom", "este vídeo não é bom"),
        ("это очень хорошо", "это не хорошо"),
    ],
)
def test_comments_of_other_languages_have_the_sign_of_their_words(friendly, unfriendly):
    assert compound_score(friendly) > 0.1
    assert compound_score(unfriendly) < -0.1


def test_a_negation_reaches_three_words():
    assert (
        sentiment.lexicon_score("no es un bueno", "es")
        < 0
        < sentiment.lexicon_score("no es de un bueno", "es")
    )


def test_english_words_of_a_german_comment_are_read_as_german():
    assert sentiment._analyzer().polarity_scores("die Musik ist toll")["compound"] < -0.5
    assert compound_score("die Musik ist toll") is None  # "toll" is in no lexicon


# Known limits: the scores of these comments are wrong or unknown (docs/adr/0085).


@pytest.mark.parametrize("text", ["oh great, it broke again", "yeah great, another ad 🙄"])
def test_sarcasm_is_read_literally(text):
    assert compound_score(text) > 0.1


def test_a_negation_after_its_verb_is_missed():
    assert compound_score("ich mag das nicht") > 0.1


def test_emoji_count_in_english_and_alone_but_not_in_other_languages():
    assert compound_score("this cat 😍") > 0.1
    assert compound_score("😍") > 0.1
    assert compound_score("das ist eine Katze 😍") is None
    assert compound_score("💀 💀 💀") is None  # slang for laughing


def test_a_short_comment_of_another_language_is_unknown():
    assert compound_score("sehr schön") is None
    assert sentiment.lexicon_score("sehr schön", "de") > 0.1


def test_only_the_beginning_of_a_long_comment_is_scored(monkeypatch):
    monkeypatch.setattr(sentiment, "MAX_CHARACTERS", 40)
    start = "I love this cat, it is so very good now "
    assert len(start) == 40
    assert compound_score(start + "bad awful worst 😡 " * 1000) == compound_score(start) > 0.1
    assert compound_score("🪨" * 40 + start) is None


def test_only_the_beginning_of_a_comment_reaches_the_libraries(monkeypatch):
    received_texts = []

    class Analyzer:
        def polarity_scores(self, text: str) -> dict:
            received_texts.append(text)
            return {"pos": 1.0, "neg": 0.0, "compound": 0.5}

    monkeypatch.setattr(sentiment, "_analyzer", Analyzer)
    monkeypatch.setattr(sentiment, "_language", lambda text: received_texts.append(text) or "en")
    compound_score("good cat " * 100_000)
    assert [len(text) for text in received_texts] == [sentiment.MAX_CHARACTERS] * 2


def test_the_read_length_is_part_of_the_method():
    assert f"first {sentiment.MAX_CHARACTERS} characters" in sentiment.METHOD


@given(st.text())
def test_any_text_is_scored_reproducibly(text):
    score = compound_score(text)
    assert score is None or -1 <= score <= 1
    assert compound_score(text) == score


def test_each_text_is_scored_once(monkeypatch):
    scored_texts = []
    monkeypatch.setattr(sentiment, "compound_score", lambda text: scored_texts.append(text) or 0.5)
    comments = pl.DataFrame({"line": [1, 2, 3], "comment_text": ["love it", "hate it", "love it"]})
    scored = with_sentiment(comments)
    assert dict(scored.select("line", "sentiment").iter_rows()) == {1: 0.5, 2: 0.5, 3: 0.5}
    assert sorted(scored_texts) == ["hate it", "love it"]
