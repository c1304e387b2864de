"""A plain SASRec in torch: padded on the right, the softmax over the whole catalogue at every position.

Legend: B users, T positions, D width, V items (row V is padding).
"""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from benchmarks.sasrec.contender import (
    BATCH,
    DROPOUT,
    HEADS,
    LAYERS,
    LENGTH,
    NEGATIVES,
    WIDTH,
    Clock,
    Data,
    Options,
    main,
)


class SASRec(nn.Module):
    """Self-attentive sequential recommendation (arXiv 1808.09781) with the item embeddings tied."""

    def __init__(self, items: int) -> None:
        super().__init__()
        self.item = nn.Embedding(items + 1, WIDTH, padding_idx=items)
        self.position = nn.Embedding(LENGTH, WIDTH)
        for table in (self.item, self.position):
            nn.init.normal_(table.weight, std=0.02)
        layer = nn.TransformerEncoderLayer(
            WIDTH, HEADS, 4 * WIDTH, DROPOUT, F.gelu, batch_first=True, norm_first=True
        )
        self.encoder = nn.TransformerEncoder(layer, LAYERS, nn.LayerNorm(WIDTH), enable_nested_tensor=False)
        self.drop = nn.Dropout(DROPOUT)

    def forward(self, item_BT: Tensor) -> Tensor:
        T = item_BT.shape[1]
        x_BTD = self.drop(self.item(item_BT) + self.position.weight[:T])
        future_TT = nn.Transformer.generate_square_subsequent_mask(T)
        return self.encoder(x_BTD, future_TT, is_causal=True)


class Plain:
    """Trains it as the textbook has it."""

    def __init__(self, data: Data, options: Options) -> None:
        torch.manual_seed(options.seed)
        self.data, self.sampled = data, options.sampled
        self.model = SASRec(data.catalogue)
        self.optimiser = torch.optim.Adam(self.model.parameters(), options.rate)

    def fit(self, epochs: int, clock: Clock) -> None:
        for _ in range(epochs):
            self.model.train()
            clock.start()
            for users in torch.randperm(self.data.users).split(BATCH):
                item_BT = self.padded(users.numpy(), LENGTH + 1)
                self.optimiser.zero_grad()
                self.loss(item_BT[:, :-1], item_BT[:, 1:]).backward()
                self.optimiser.step()
            if not clock.stop():
                break

    def loss(self, item_BT: Tensor, target_BT: Tensor) -> Tensor:
        V = self.data.catalogue
        z_BTD = self.model(item_BT)
        if not self.sampled:
            logit_BTV = z_BTD @ self.model.item.weight[:V].T
            return F.cross_entropy(logit_BTV.flatten(0, 1), target_BT.flatten(), ignore_index=V)
        drawn_C = torch.randint(V, (NEGATIVES,))
        own_BT = (z_BTD * self.model.item(target_BT)).sum(-1)
        logit_BTC = z_BTD @ self.model.item(drawn_C).T
        logit_BTC = logit_BTC.masked_fill(drawn_C == target_BT[..., None], -torch.inf)
        loss_BT = torch.cat([own_BT[..., None], logit_BTC], -1).logsumexp(-1) - own_BT
        return loss_BT[target_BT != V].mean()

    def padded(self, users: np.ndarray, length: int) -> Tensor:
        item_BT = np.full((len(users), length), self.data.catalogue)
        for row, user in enumerate(users):
            history = self.data.history(user)[-length:]
            item_BT[row, : len(history)] = history
        return torch.from_numpy(item_BT)

    @torch.inference_mode()
    def scores(self, users: np.ndarray) -> np.ndarray:
        self.model.eval()
        return np.concatenate(list(self._scores(users)))

    def _scores(self, users: np.ndarray) -> Iterator[np.ndarray]:
        for part in np.split(users, range(BATCH, len(users), BATCH)):
            item_BT = self.padded(part, LENGTH)
            last_B = (item_BT != self.data.catalogue).sum(1) - 1
            z_BD = self.model(item_BT)[torch.arange(len(part)), last_B]
            yield (z_BD @ self.model.item.weight[:-1].T).numpy()


if __name__ == "__main__":
    main(Plain)
