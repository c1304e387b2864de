import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spark_jobs import sentiment
from spark_jobs.sentiment import compound, with_sentiment


@pytest.mark.parametrize(
    "text", ["love this, more please", "so good, best cat ever!", "😍😍", "lol", "not bad"]
)
def test_a_friendly_comment_scores_above_zero(text):
    assert compound(text) > 0.1


@pytest.mark.parametrize(
    "text", ["boring, what a waste of time", "not good at all", "worst cat I have seen", "ugh"]
)
def test_an_unfriendly_comment_scores_below_zero(text):
    assert compound(text) < -0.1


def test_emphasis_makes_a_score_stronger():
    assert compound("this is good") < compound("this is good!!!") < compound("this is VERY good!!!")


@pytest.mark.parametrize(
    "text", ["", "first!", "where is this?", "我喜欢这个", "c'est nul", "me encanta este gato"]
)
def test_a_comment_without_a_word_of_the_lexicon_is_unknown_and_not_neutral(text):
    assert compound(text) is None


@pytest.mark.parametrize("text", ["die Musik ist toll", "das ist super schön", "no me gusta nada"])
def test_a_word_that_another_language_shares_with_the_lexicon_does_not_count(text):
    assert compound(text) is None
    assert sentiment._analyzer().polarity_scores(text)["compound"] != 0


def test_of_a_long_comment_only_the_beginning_is_read(monkeypatch):
    monkeypatch.setattr(sentiment, "LONGEST", 40)
    start = "I love this cat, it is so very good now "
    assert len(start) == 40
    assert compound(start + "bad awful worst 😡 " * 1000) == compound(start) > 0.1
    assert compound("🪨" * 40 + start) is None


def test_no_more_of_a_comment_is_handed_over_than_its_beginning(monkeypatch):
    handed = []

    class Analyzer:
        def polarity_scores(self, text: str) -> dict:
            handed.append(text)
            return {"pos": 1.0, "neg": 0.0, "compound": 0.5}

    monkeypatch.setattr(sentiment, "_analyzer", Analyzer)
    monkeypatch.setattr(sentiment, "_language", lambda text: handed.append(text) or "en")
    compound("good cat " * 100_000)
    assert [len(text) for text in handed] == [sentiment.LONGEST] * 2


def test_how_much_of_a_comment_is_read_is_part_of_what_a_day_was_made_of():
    assert f"first {sentiment.LONGEST} characters" in sentiment.METHOD


@given(st.text())
def test_any_text_is_scored_or_unknown_and_always_the_same(text):
    score = compound(text)
    assert score is None or -1 <= score <= 1
    assert compound(text) == score


def test_only_comments_are_handed_to_python(spark, monkeypatch):
    def count(texts: pd.Series) -> pd.Series:
        assert texts.astype(bool).all(), "a row without a comment came by"
        return pd.Series(1.0, texts.index)

    monkeypatch.setattr(sentiment, "_scores", count)
    rows = [(1, "love it"), (2, None), (3, ""), (4, "hate it")]
    scored = with_sentiment(spark.createDataFrame(rows, "line long, comment_text string")).collect()
    assert {row.line: row.sentiment for row in scored} == {1: 1.0, 2: None, 3: None, 4: 1.0}
