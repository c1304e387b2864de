"""Text that is read from a video's file: what is said, what is written on the screen, what is shown.

Each source that finds text gives one text. The text vector of a video is the normalised mean of the vectors
of its caption and of these texts. So a long transcript does not push the caption out of the encoder's context
(ADR 0084).
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from features.text_normalisation import normalise_text

MEDIA_TEXT_SOURCES = ("transcript", "screen_text", "description")
NO_TEXT_REASON = "no_text"  # the reject reason of a readable file without any text
READER_FAILED_REASON = "reader_failed"  # the reject reason of a file on which a reader failed

Read = Callable[[Sequence[Any]], np.ndarray]  # inputs -> texts [B], each a string


def read_media_text(readers: Mapping[str, Read], inputs: Mapping[str, Sequence[Any]]) -> list[str]:
    """Return the text of each source that finds any, in the order of MEDIA_TEXT_SOURCES.

    Args:
        readers: Source -> function that reads a non-empty batch.
        inputs: Source -> its inputs in order of time: pieces of sound, or images. Empty if the file has none.
    """
    sources = [name for name in MEDIA_TEXT_SOURCES if name in readers and len(inputs[name])]
    return list(filter(None, (join_texts(readers[name](inputs[name]).tolist()) for name in sources)))


def join_texts(texts: Sequence[str]) -> str:
    """Join the normalised texts of a video. A text that repeats itself, such as a watermark, counts once."""
    return " ".join(dict.fromkeys(filter(None, map(normalise_text, texts))))
