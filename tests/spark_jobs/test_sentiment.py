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


@pytest.mark.parametrize("text", ["die Musik ist toll", "das ist super schön", "no me gusta nada"])
def test_words_of_other_languages_do_not_count(text):
    assert compound_score(text) is None
    assert sentiment._analyzer().polarity_scores(text)["compound"] != 0


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
