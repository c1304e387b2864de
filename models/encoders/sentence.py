"""Text by any sentence encoder that sentence-transformers loads, from the hub or a folder."""

from collections.abc import Sequence
from hashlib import sha256

import torch
from sentence_transformers import SentenceTransformer
from torch import Tensor

from models.encoders.base import LOAD_ERRORS, OFFLINE, first_line
from models.encoders.clip import TextEncoder


class SentenceEncoder(TextEncoder):
    """A sentence encoder with its own pooling; `repr` tells its modules, so the name tells them apart."""

    def __init__(self, model: SentenceTransformer, device: torch.device) -> None:
        super().__init__(model, device)
        self.name = f"sentence {model!r}"
        self.preprocessing = {
            "tokens": model.max_seq_length,
            "tokenizer": sha256(model.tokenizer.backend_tokenizer.to_str().encode()).hexdigest(),
            "prompts": model.prompts,
            "prompt": model.default_prompt_name,
        }
        self.width = self.encode(["a"]).shape[1]

    def forward(self, batch: Sequence[str]) -> Tensor:
        return self.model.encode(
            list(batch), batch_size=len(batch), convert_to_tensor=True, show_progress_bar=False
        )


def sentence_model(name: str, dtype: torch.dtype) -> SentenceTransformer:
    """The model of a hub name or folder.

    Raises:
        ValueError: it cannot be had; one sentence.
    """
    try:
        return SentenceTransformer(name, device="cpu", model_kwargs={"dtype": dtype})
    except LOAD_ERRORS as error:
        raise ValueError(
            f"sentence:{name}: the model cannot be loaded ({first_line(error)}){OFFLINE}"
        ) from None
