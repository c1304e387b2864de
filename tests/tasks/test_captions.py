from typing import Any

import ftfy
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks import captions
from tasks.captions import clean, wording

WORD = st.text("abcdefgäñжあ", min_size=1)


@pytest.mark.parametrize(
    ("caption", "words"),
    [
        ("so   nice\n\ttoday ", "so nice today"),
        ("cafÃ© &amp; cake", "café & cake"),
        ("𝓫𝓮𝓼𝓽 ｃａｔ ever", "best cat ever"),
        ("look https://example.org/x?y=1 here WWW.example.org", "look here"),
        ("#catVideos #cat_videos #CATS", "cat Videos cat videos CATS"),
        ("the end # funny God reversal # comic", "the end funny God reversal comic"),
        ("＃МойКот #かわいい猫", "Мой Кот かわいい猫"),
        ("C# is no #1 tag", "C# is no 1 tag"),
        ("purr 🐱👩‍👧!", "purr 🐱👩‍👧!"),
        ("https://example.org", ""),
        (" # ", "#"),
    ],
)
def test_a_caption_is_cleaned(caption: str, words: str) -> None:
    assert clean(caption) == words


def test_of_a_long_caption_only_the_beginning_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    handed, fix = [], ftfy.fix_text

    def noted(text: str, *more: Any) -> str:
        handed.append(len(text))
        return fix(text, *more)

    monkeypatch.setattr("ftfy.fix_text", noted)
    start = ("a cat on a #softRoof " * 1000)[: captions.LONGEST]
    assert clean(start + "x" * 1_000_000) == clean(start)
    assert handed == [captions.LONGEST] * 2
    assert captions.TEXT["longest"] == captions.LONGEST


@given(st.lists(WORD))
def test_plain_words_stay_as_they_are_and_in_order(words: list[str]) -> None:
    assert clean("  ".join(words)) == clean(" ".join(words)) == " ".join(clean(word) for word in words)


@given(st.text())
def test_any_text_ends_without_double_or_outer_spaces(text: str) -> None:
    assert clean(text) == " ".join(clean(text).split())


def test_the_text_of_a_video_is_caption_and_hashtags_and_not_the_title_of_what_is_heard() -> None:
    record = {"caption": "a cat ", "hashtags": ["#softPaws", "purr"], "music_title": "song"}
    assert clean(wording(record)) == "a cat soft Paws purr"
    assert wording({"caption": None, "hashtags": None, "music_title": None}) == ""
    assert clean(wording({"caption": " ", "hashtags": [], "music_title": "song"})) == ""
