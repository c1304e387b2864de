from typing import Any

import ftfy
import pytest
from hypothesis import given
from hypothesis import strategies as st

from features import text_normalisation
from features.text_normalisation import normalise_text, raw_text

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
    assert normalise_text(caption) == words


def test_only_the_beginning_of_a_long_caption_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    handed, fix = [], ftfy.fix_text

    def noted(text: str, *more: Any) -> str:
        handed.append(len(text))
        return fix(text, *more)

    monkeypatch.setattr("ftfy.fix_text", noted)
    start = ("a cat on a #softRoof " * 1000)[: text_normalisation.MAX_CHARACTERS]
    assert normalise_text(start + "x" * 1_000_000) == normalise_text(start)
    assert handed == [text_normalisation.MAX_CHARACTERS] * 2
    assert text_normalisation.TEXT_FINGERPRINT["longest"] == text_normalisation.MAX_CHARACTERS


@given(st.lists(WORD))
def test_plain_words_are_unchanged(words: list[str]) -> None:
    assert (
        normalise_text("  ".join(words))
        == normalise_text(" ".join(words))
        == " ".join(normalise_text(word) for word in words)
    )


@given(st.text())
def test_no_text_has_double_or_outer_spaces(text: str) -> None:
    assert normalise_text(text) == " ".join(normalise_text(text).split())


def test_the_text_of_a_video_is_caption_and_hashtags() -> None:
    record = {"caption": "a cat ", "hashtags": ["#softPaws", "purr"], "music_title": "song"}
    assert normalise_text(raw_text(record)) == "a cat soft Paws purr"
    assert raw_text({"caption": None, "hashtags": None, "music_title": None}) == ""
    assert normalise_text(raw_text({"caption": " ", "hashtags": [], "music_title": "song"})) == ""
