"""DIN (Zhou et al., KDD 2018, arXiv 1706.06978): the probability of a video, given related positives.

DIN is a ranking model, made for AUC. It can score a whole catalogue too, one user at a time.
"""

import torch
from torch import Tensor, nn

from models.baselines.baseline import Baseline, IdVocabulary
from models.config import ModelConfig
from models.data.positives import is_first_positive, positive_id_rows
from models.data.sequences import SequenceBatch
from models.data.targets import BEHAVIOUR_HEADS, behaviour_labels
from models.data.user_state import UserState
from models.data.users import UserProfiles
from models.losses.softmax import behaviour_loss

PAIRS_PER_CHUNK = 1 << 16  # (candidate, positive) pairs in memory at a time when a catalogue is scored


class Dice(nn.Module):
    """Dice activation: p s + (1 − p) α s, where p is σ of the standardised s."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(width, affine=False)
        self.alpha = nn.Parameter(torch.zeros(width))

    def forward(self, s_ND: Tensor) -> Tensor:
        if self.training and len(s_ND) < 2:  # one row has no standard deviation
            return s_ND
        p_ND = torch.sigmoid(self.norm(s_ND))
        return p_ND * s_ND + (1 - p_ND) * self.alpha * s_ND


class DIN(Baseline):
    """The local activation unit and the network behind it.

    The weights of the positives are not normalised, so their sum measures the strength of the interest. Only
    real pairs pass through the unit, so padding cannot change the statistics of Dice. Logit 0 is "positive".
    The others are those of the main model's ranking heads.
    """

    has_ranking_heads = True

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        D = config.width
        # The last row is for videos that were not in training.
        self.item_embedding = nn.Embedding(self.num_videos + 1, D, padding_idx=self.num_videos)
        self.activation_unit = nn.Sequential(nn.Linear(4 * D, 36), Dice(36), nn.Linear(36, 1))
        self.mlp = nn.Sequential(
            nn.Linear(3 * D, 80), Dice(80), nn.Dropout(config.dropout),
            nn.Linear(80, 40), Dice(40), nn.Linear(40, 1 + len(BEHAVIOUR_HEADS)),
        )  # fmt: skip
        with torch.no_grad():
            nn.init.normal_(self.item_embedding.weight, std=0.1)[-1] = 0.0

    def forward(self, sequence_NT: Tensor, mask_NT: Tensor, candidate_N: Tensor) -> Tensor:
        """Return the logits [N, 1 + H].

        Args:
            sequence_NT: ID rows of the user's positives.
            mask_NT: Bool, which of them exist.
            candidate_N: ID row of the video. −1: it was not in training.
        """
        q_ND, pair_E = self.item_embedding(candidate_N % (self.num_videos + 1)), mask_NT.nonzero()[:, 0]
        k_ED, q_ED = self.item_embedding(sequence_NT[mask_NT]), q_ND[pair_E]
        w_E1 = self.activation_unit(torch.cat([q_ED, k_ED, q_ED - k_ED, q_ED * k_ED], 1))
        u_ND = torch.zeros_like(q_ND).index_add(0, pair_E, w_E1 * k_ED)
        return self.mlp(torch.cat([u_ND, q_ND, u_ND * q_ND], 1))

    def loss(self, batch: SequenceBatch, id_row_V: Tensor) -> Tensor:
        """Return the binary cross-entropy of all behaviours at every interaction.

        An interaction is predicted from the positives before it.
        """
        row_BT, config = id_row_V[batch.video_BT], self.config
        first_positive_BT = is_first_positive(batch, id_row_V)
        known_BT = batch.mask_BT & (row_BT >= 0)
        user_N, event_N = known_BT.nonzero().T
        sequence_mask_NT = first_positive_BT[user_N] & (torch.arange(row_BT.shape[1]) < event_N[:, None])
        logit_NH = self(row_BT[user_N], sequence_mask_NT, row_BT[known_BT])
        label_NH, known_NH = behaviour_labels(
            batch.watch_ratio_BT[known_BT],
            batch.watch_ratio_known_BT[known_BT],
            batch.behaviour_BTA[known_BT],
            config.behaviours,
            config.skip_watch_ratio,
        )
        positive_N1 = batch.positive_BT[known_BT][:, None]
        label_NH = torch.cat([positive_N1, label_NH], 1)
        known_NH = torch.cat([torch.ones_like(positive_N1), known_NH], 1)
        return behaviour_loss(logit_NH, label_NH, known_NH) / known_NH.sum().clamp(min=1)

    def encode_user(self, batch: SequenceBatch, profiles: UserProfiles, items: IdVocabulary) -> UserState:
        """Return a state that holds ID rows and mask of the positives, [B, max_length] each."""
        row_BT, mask_BT = positive_id_rows(batch, items.id_row_V)
        shape = (len(row_BT), self.config.max_length - row_BT.shape[1])
        rest_BT = row_BT.new_zeros(shape)
        return UserState(torch.cat([row_BT, rest_BT], 1), torch.cat([mask_BT, rest_BT.bool()], 1))

    def score_vocabulary(self, user_state: UserState) -> Tensor:
        pairs = zip(user_state.z_ND, user_state.u_NW, strict=True)
        return torch.stack([self._score_user(row_T[mask_T]) for row_T, mask_T in pairs])

    def behaviour_logits(
        self, user_state: UserState, items: IdVocabulary, rows_N: Tensor, request_NJ: Tensor | None = None
    ) -> Tensor:
        """Return the logits [N, H] of the ranking heads, for one video for each row."""
        return self(user_state.z_ND, user_state.u_NW, items.id_row_V[rows_N])[:, 1:]

    def positive_logits(self, user_state: UserState, items: IdVocabulary, rows_N: Tensor) -> Tensor:
        """Return the logits [N] of a positive. Early stopping uses them, on the videos that were shown."""
        return self(user_state.z_ND, user_state.u_NW, items.id_row_V[rows_N])[:, 0]

    def _score_user(self, row_T: Tensor) -> Tensor:
        """Return score_I of one user."""
        size = max(2, PAIRS_PER_CHUNK // max(len(row_T), 1))
        mask_1T = torch.ones(1, len(row_T), dtype=torch.bool)
        logits = []
        for candidate_i in torch.arange(self.num_videos).split(size):
            shape = (len(candidate_i), -1)
            logits.append(self(row_T.expand(shape), mask_1T.expand(shape), candidate_i))
        return torch.cat(logits)[:, 0]
