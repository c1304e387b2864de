"""A plain SASRec in torch, with padding on the right and a softmax at every position.

Items are 0 to V − 1. Item V is padding.
"""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from benchmarks.speed.sasrec.contender import (
    BATCH_SIZE,
    DROPOUT,
    HEADS,
    LAYERS,
    MAX_LENGTH,
    NUM_NEGATIVES,
    WIDTH,
    EpochTimer,
    Options,
    SequenceData,
    main,
)


class SASRec(nn.Module):
    """Self-attentive sequential recommendation (arXiv 1808.09781) with tied item embeddings."""

    def __init__(self, items: int) -> None:
        super().__init__()
        self.item_embedding = nn.Embedding(items + 1, WIDTH, padding_idx=items)
        self.position_embedding = nn.Embedding(MAX_LENGTH, WIDTH)
        for table in (self.item_embedding, self.position_embedding):
            nn.init.normal_(table.weight, std=0.02)
        layer = nn.TransformerEncoderLayer(
            WIDTH, HEADS, 4 * WIDTH, DROPOUT, F.gelu, batch_first=True, norm_first=True
        )
        self.encoder = nn.TransformerEncoder(layer, LAYERS, nn.LayerNorm(WIDTH), enable_nested_tensor=False)
        self.dropout = nn.Dropout(DROPOUT)

    def forward(self, item_BT: Tensor) -> Tensor:
        """Return the user states z_BTD of padded sequences."""
        T = item_BT.shape[1]
        x_BTD = self.dropout(self.item_embedding(item_BT) + self.position_embedding.weight[:T])
        future_TT = nn.Transformer.generate_square_subsequent_mask(T)
        return self.encoder(x_BTD, future_TT, is_causal=True)


class TorchSASRec:
    """Trains SASRec with the exact or the sampled softmax and Adam."""

    def __init__(self, data: SequenceData, options: Options) -> None:
        torch.manual_seed(options.seed)
        self.data, self.sampled = data, options.sampled
        self.model = SASRec(data.num_items)
        self.optimizer = torch.optim.Adam(self.model.parameters(), options.learning_rate)

    def fit(self, epochs: int, timer: EpochTimer) -> None:
        for _ in range(epochs):
            self.model.train()
            timer.start()
            for users in torch.randperm(self.data.num_users).split(BATCH_SIZE):
                item_BT = self.pad_sequences(users.numpy(), MAX_LENGTH + 1)
                self.optimizer.zero_grad()
                self.loss(item_BT[:, :-1], item_BT[:, 1:]).backward()
                self.optimizer.step()
            if not timer.stop():
                break

    def loss(self, item_BT: Tensor, target_BT: Tensor) -> Tensor:
        """Return the mean cross-entropy of the targets, exact or with shared negatives."""
        V = self.data.num_items
        z_BTD = self.model(item_BT)
        if not self.sampled:
            logit_BTV = z_BTD @ self.model.item_embedding.weight[:V].T
            return F.cross_entropy(logit_BTV.flatten(0, 1), target_BT.flatten(), ignore_index=V)
        negative_C = torch.randint(V, (NUM_NEGATIVES,))
        target_logit_BT = (z_BTD * self.model.item_embedding(target_BT)).sum(-1)
        logit_BTC = z_BTD @ self.model.item_embedding(negative_C).T
        logit_BTC = logit_BTC.masked_fill(negative_C == target_BT[..., None], -torch.inf)
        loss_BT = torch.cat([target_logit_BT[..., None], logit_BTC], -1).logsumexp(-1) - target_logit_BT
        return loss_BT[target_BT != V].mean()

    def pad_sequences(self, users: np.ndarray, length: int) -> Tensor:
        """Return the newest `length` items of each user, padded on the right."""
        item_BT = np.full((len(users), length), self.data.num_items)
        for row, user in enumerate(users):
            sequence = self.data.sequence(user)[-length:]
            item_BT[row, : len(sequence)] = sequence
        return torch.from_numpy(item_BT)

    @torch.inference_mode()
    def score_users(self, users: np.ndarray) -> np.ndarray:
        self.model.eval()
        return np.concatenate(list(self._score_batches(users)))

    def _score_batches(self, users: np.ndarray) -> Iterator[np.ndarray]:
        for part in np.split(users, range(BATCH_SIZE, len(users), BATCH_SIZE)):
            item_BT = self.pad_sequences(part, MAX_LENGTH)
            last_B = (item_BT != self.data.num_items).sum(1) - 1
            z_BD = self.model(item_BT)[torch.arange(len(part)), last_B]
            yield (z_BD @ self.model.item_embedding.weight[:-1].T).numpy()


if __name__ == "__main__":
    main(TorchSASRec)
