"""Text encoders that sentence-transformers loads, from the hub or a folder."""

from collections.abc import Sequence

import torch
from sentence_transformers import SentenceTransformer
from torch import Tensor

from models.encoders.base import hash_tokenizer, loading
from models.encoders.clip import TextEncoder


class SentenceEncoder(TextEncoder):
    """A sentence encoder with its own pooling. Its name contains `repr(model)`, which lists its modules."""

    def __init__(self, model: SentenceTransformer, device: torch.device) -> None:
        super().__init__(model, device)
        self.name = f"sentence {model!r}"
        self.preprocessing = {
            "tokens": model.max_seq_length,
            "tokenizer": hash_tokenizer(model.tokenizer),
            "prompts": model.prompts,
            "prompt": model.default_prompt_name,
        }
        self.width = self.encode(["a"]).shape[1]

    def forward(self, batch: Sequence[str]) -> Tensor:
        return self.model.encode(
            list(batch), batch_size=len(batch), convert_to_tensor=True, show_progress_bar=False
        )


def load_sentence_transformer(name: str, dtype: torch.dtype) -> SentenceTransformer:
    """Load the model of a hub name or folder.

    Raises:
        ValueError: The model cannot be loaded.
    """
    with loading(f"sentence:{name}"):
        return SentenceTransformer(name, device="cpu", model_kwargs={"dtype": dtype})
