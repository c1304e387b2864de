"""Text on images: by RapidOCR, or by a function of the user's own.

RapidOCR (package `rapidocr`) ships the PP-OCR models of PaddleOCR in its wheel, so nothing is downloaded. It
runs on the CPU.
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from models.encoders.base import loading

RAPIDOCR = "rapidocr"
INSTALL_HINT = "; install the extra `ocr`"
MIN_SCORE = 0.8  # of a line, from 0 to 1. Lines below are mostly patterns that are no text.

ReadImage = Callable[[np.ndarray], str]  # RGB image [height, width, 3] uint8 -> text


class ReaderFailedError(RuntimeError):
    """A reader failed on an image. The message names the reader and the reason."""


class ScreenTextReader:
    """Reads RGB images [height, width, 3] uint8 of any size, one after another.

    Attributes:
        name: What reads, with its version.
    """

    def __init__(self, name: str, read: ReadImage) -> None:
        self.name, self._read = name, read

    def fingerprint(self, sampling: Mapping[str, Any]) -> str:
        """Return 16 hex digits over what reads and how images are sampled."""
        return hashlib.sha256(json.dumps([self.name, dict(sampling)], sort_keys=True).encode()).hexdigest()[
            :16
        ]

    def encode(self, batch: Sequence[np.ndarray]) -> np.ndarray:
        """Return the text of each image [B], as str objects.

        Raises:
            ReaderFailedError: The function failed, or returned something else than a string.
        """
        return np.array([self._text(image) for image in batch], object)

    def _text(self, image: np.ndarray) -> str:
        try:
            text = self._read(image)
        except Exception as error:  # a function of the user's own can raise anything
            raise ReaderFailedError(f"{self.name.split()[0]}: {type(error).__name__}: {error}") from error
        if not isinstance(text, str):
            raise ReaderFailedError(f"{self.name.split()[0]} returned {type(text).__name__}, not a string")
        return text


def build_screen_text_reader(encoder_name: str) -> ScreenTextReader:
    """Build the reader of `rapidocr` or `<module>:<function>`.

    The function takes one image and returns its text. The digest of its module's file is part of the
    fingerprint, so an edited function reads all videos again. Further files that it depends on, such as
    weights, are not part of it: change the module when they change.

    Raises:
        ValueError: The package is not installed, or there is no such function.
    """
    if encoder_name == RAPIDOCR:
        return _build_rapidocr()
    module_name, _, function_name = encoder_name.partition(":")
    with loading(encoder_name, "; write the <module>:<function> of a module that can be imported"):
        module = import_module(module_name)
    read = getattr(module, function_name, None)
    if not callable(read) or not module.__file__:
        raise ValueError(f"{encoder_name}: {module_name} has no function {function_name!r}; write its name")
    digest = hashlib.sha256(Path(module.__file__).read_bytes()).hexdigest()
    return ScreenTextReader(f"{encoder_name} {digest}", read)


def _build_rapidocr() -> ScreenTextReader:
    with loading(RAPIDOCR, INSTALL_HINT):
        from rapidocr import RapidOCR  # importing takes seconds

        engine: Any = RapidOCR(params={"Global.log_level": "error", "Global.text_score": MIN_SCORE})

    def read(image: np.ndarray) -> str:
        return " ".join(engine(image[..., ::-1]).txts or ())  # it expects BGR

    return ScreenTextReader(f"rapidocr {version('rapidocr')} {MIN_SCORE}", read)
