"""Segment interest: in which video segment would this user leave? (SegMM, arXiv 2504.04237)

A video is cut into segments of a few seconds. The segments that the user watched before meet the segments of
the present video, by ID and in each modality separately. The lower the score of a segment, the sooner the
user leaves there. There are two differences from the published code: the last layer counts, and padding
neither takes part nor is ranked.

In this module B counts interactions, and T counts the segments of the present video.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

WATCHED_TO_END = -1  # `exit_segment_B` of a video that was watched to its end
ID_BRANCH = "id"


@dataclass(frozen=True)
class SegmentTable:
    """Features of the segments of all videos.

    Attributes:
        features: Modality -> features [V, T, F].
        has: Modality -> bool [V, T], whether the segment has the modality.
        num_segments_V: Number of segments of each video.
    """

    features: Mapping[str, Tensor]
    has: Mapping[str, Tensor]
    num_segments_V: Tensor


@dataclass(frozen=True)
class SegmentInteractions:
    """Interactions to learn from or to score.

    Attributes:
        user_B: Row of the user. 0 is unknown.
        video_B: Row of the video in the catalogue.
        id_row_B: Row of the video's ID embedding. 0 is unknown.
        exit_segment_B: The segment in which the user left, or WATCHED_TO_END.
        history_BO2: (video row, segment) of what the user watched before, newest first.
        history_mask_BO: Bool, which of them exist.
        history_exit_BO: Bool, in which of them the user left.
    """

    user_B: Tensor
    video_B: Tensor
    id_row_B: Tensor
    exit_segment_B: Tensor
    history_BO2: Tensor
    history_mask_BO: Tensor
    history_exit_BO: Tensor

    def select(self, rows: Tensor) -> "SegmentInteractions":
        """Return these interactions only."""
        return replace(self, **{name: value[rows] for name, value in vars(self).items()})


class CrossAttentionLayer(nn.Module):
    """Attention of both sides to both: V' = softmax([V Uᵀ ⊕ V Vᵀ] / √D) (U ⊕ V), and the same for U."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.attention_norm, self.feed_forward_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.feed_forward = nn.Sequential(
            nn.Linear(width, 2 * width), nn.GELU(), nn.Dropout(dropout), nn.Linear(2 * width, width)
        )

    def forward(self, u_BOD: Tensor, v_BTD: Tensor, mask_BX: Tensor) -> tuple[Tensor, Tensor]:
        """Return the next u_BOD and v_BTD.

        Args:
            u_BOD: Segments watched before.
            v_BTD: Segments of the present video.
            mask_BX: Bool, which of the X = O + T segments exist. No segment attends to the others.
        """
        x_BXD = torch.cat([u_BOD, v_BTD], 1)
        # A row that attends to nothing would be NaN. So it attends to itself, and its result is not used.
        diagonal_XX = torch.eye(x_BXD.shape[1], dtype=torch.bool)
        y_BXD = self.attention_norm(x_BXD)
        x_BXD = x_BXD + F.scaled_dot_product_attention(
            y_BXD, y_BXD, y_BXD, attn_mask=mask_BX[:, None, :] | diagonal_XX
        )
        x_BXD = x_BXD + self.feed_forward(self.feed_forward_norm(x_BXD))
        return x_BXD[:, : u_BOD.shape[1]], x_BXD[:, u_BOD.shape[1] :]


class SegmentInterest(nn.Module):
    """Interest p of a user in each segment of a video.

    Args:
        modalities: Name -> width of its features. Empty: IDs and positions only.
        num_users: Number of known users. Row 0 of the embedding stands for the others.
        num_videos: Number of known videos. Row 0 of the embedding stands for the others.
        max_segments: T of the longest video.
        width: D.
        num_layers: Layers of cross-attention.
        dropout: Dropout rate.
    """

    def __init__(
        self,
        modalities: Mapping[str, int],
        num_users: int,
        num_videos: int,
        max_segments: int,
        width: int = 32,
        num_layers: int = 2,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.branches = [ID_BRANCH, *modalities]
        self.projections = nn.ModuleDict(
            {m: nn.Linear(size, width, bias=False) for m, size in modalities.items()}
        )
        self.user_embedding = nn.Embedding(num_users + 1, width, padding_idx=0)
        self.id_embedding = nn.Embedding(num_videos + 1, width, padding_idx=0)
        self.position_embedding = nn.Embedding(max_segments, width)
        self.exit_embedding = nn.Embedding(2, width)  # whether the user left in a segment watched before
        for table in (self.user_embedding, self.id_embedding, self.position_embedding, self.exit_embedding):
            nn.init.normal_(table.weight, std=0.02)
        self.layers = nn.ModuleDict(
            {
                branch: nn.ModuleList(CrossAttentionLayer(width, dropout) for _ in range(num_layers))
                for branch in self.branches
            }
        )
        self.score_heads = nn.ModuleDict(
            {branch: nn.Linear(width, 1, bias=False) for branch in self.branches}
        )
        num_pairs = len(self.branches) * (len(self.branches) - 1) // 2
        self.pair_weights = nn.Parameter(torch.zeros(num_pairs))
        self.bias = nn.Parameter(torch.zeros(max_segments))

    def forward(self, interactions: SegmentInteractions, segment_table: SegmentTable) -> Tensor:
        """Return p_BT, higher for a more interesting segment. Values beyond a video's end are arbitrary."""
        latent = [self._encode_branch(branch, interactions, segment_table) for branch in self.branches]
        branch_scores = [
            self.score_heads[branch](x_BTD).squeeze(2)
            for branch, x_BTD in zip(self.branches, latent, strict=True)
        ]
        p_BT = torch.stack(branch_scores).sum(0)
        pairs = [(a, b) for i, a in enumerate(latent) for b in latent[i + 1 :]]
        for weight, (a_BTD, b_BTD) in zip(self.pair_weights, pairs, strict=True):
            p_BT = p_BT + weight * (a_BTD * b_BTD).mean(2)
        return p_BT + self.bias[: p_BT.shape[1]]

    def _encode_branch(
        self, branch: str, interactions: SegmentInteractions, segment_table: SegmentTable
    ) -> Tensor:
        """Encode the video's segments [B, T, D] after attention with those watched before.

        Missing segments are zero.
        """
        mask_BT = segment_mask(interactions, segment_table)
        if branch == ID_BRANCH:
            u_BOD = self.user_embedding(interactions.user_B).unsqueeze(1)
            has_BO = torch.ones(len(interactions.user_B), 1).bool()
            position_TD = self.position_embedding.weight[: mask_BT.shape[1]]
            v_BTD = self.id_embedding(interactions.id_row_B).unsqueeze(1) + position_TD
            has_BT = mask_BT
        else:
            x_VTF, has_VT = segment_table.features[branch], segment_table.has[branch]
            video_BO, segment_BO = interactions.history_BO2.unbind(2)
            has_BO = interactions.history_mask_BO & has_VT[video_BO, segment_BO]
            has_BT = mask_BT & has_VT[interactions.video_B]
            history_BOF = x_VTF[video_BO, segment_BO].masked_fill(~has_BO.unsqueeze(2), 0.0)
            u_BOD = self.projections[branch](history_BOF)
            u_BOD = u_BOD + self.exit_embedding(interactions.history_exit_BO.long())
            x_BTF = x_VTF[interactions.video_B].masked_fill(~has_BT.unsqueeze(2), 0.0)
            v_BTD = self.projections[branch](x_BTF)
        for layer in self.layers[branch]:  # type: ignore[attr-defined]  # a ModuleList
            u_BOD, v_BTD = layer(u_BOD, v_BTD, torch.cat([has_BO, has_BT], 1))
        return torch.where(has_BT.unsqueeze(2), v_BTD, 0.0)


def segment_mask(interactions: SegmentInteractions, segment_table: SegmentTable) -> Tensor:
    """Return which segments each interaction's video has, bool [B, T]."""
    max_segments = max(
        (has.shape[1] for has in segment_table.has.values()), default=int(segment_table.num_segments_V.max())
    )
    return torch.arange(max_segments) < segment_table.num_segments_V[interactions.video_B][:, None]


def intra_video_loss(p_BT: Tensor, exit_segment_B: Tensor, mask_BT: Tensor) -> Tensor:
    """Return −Σ_{j≠y} ln σ(p_j − p_y), where y is the segment in which the user left.

    It is the mean over the interactions that ended before the video did. In this function E counts them.
    """
    exited_B = exit_segment_B != WATCHED_TO_END
    p_ET, exit_segment_E, mask_ET = p_BT[exited_B], exit_segment_B[exited_B], mask_BT[exited_B]
    if not len(exit_segment_E):
        return p_BT.sum() * 0.0
    other_ET = mask_ET & (torch.arange(p_ET.shape[1]) != exit_segment_E[:, None])
    loss_ET = F.softplus(p_ET.gather(1, exit_segment_E[:, None]) - p_ET)
    return loss_ET.masked_fill(~other_ET, 0.0).sum() / len(exit_segment_E)


def skip_ranks(p_BT: Tensor, exit_segment_B: Tensor, mask_BT: Tensor) -> Tensor:
    """Return the rank, from 0, of the segment in which the user left, by ascending p, [E].

    E counts the interactions that ended before the video did. Of segments with equal p the earlier is first.
    """
    exited_B = exit_segment_B != WATCHED_TO_END
    p_ET, exit_segment_E, mask_ET = p_BT[exited_B], exit_segment_B[exited_B], mask_BT[exited_B]
    exit_score_E1 = p_ET.gather(1, exit_segment_E[:, None])
    earlier_ET = torch.arange(p_ET.shape[1]) < exit_segment_E[:, None]
    return (mask_ET & ((p_ET < exit_score_E1) | ((p_ET == exit_score_E1) & earlier_ET))).sum(1)


def skip_metrics(rank_E: Tensor, cutoffs: tuple[int, ...] = (1, 5, 10)) -> dict[str, Tensor]:
    """Return HR@k and NDCG@k of each interaction, [E].

    Each has one relevant segment, so the ideal gain is 1.
    """
    gain_E = 1 / torch.log2(2.0 + rank_E)
    hits = {f"hr@{k}": (rank_E < k).float() for k in cutoffs}
    return hits | {f"ndcg@{k}": torch.where(rank_E < k, gain_E, 0.0) for k in cutoffs}


def position_baseline(interactions: SegmentInteractions, max_segments: int) -> Tensor:
    """Return p_T of a baseline that knows positions only.

    It is minus the number of training interactions that ended at the position.
    """
    exit_segment_E = interactions.exit_segment_B[interactions.exit_segment_B != WATCHED_TO_END]
    return -torch.bincount(exit_segment_E, minlength=max_segments)[:max_segments].float()
