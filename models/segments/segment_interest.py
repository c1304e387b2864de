"""Segment interest: in which video segment would this user leave? (SegMM, arXiv 2504.04237)

A video is cut into segments of a few seconds. The segments that the user watched before meet the segments of
the present video, by ID and in each modality separately. The lower the score of a segment, the likelier the
user leaves there. There are two differences from the published code: the last layer counts, and padding
neither takes part nor is ranked.

The scores are also logits: of all ways to end, leaving in segment t has the weight exp(−p_t), and watching to
the end has the weight 1. So they give the probability to stay until the end of each segment.

In this module B counts views, and T counts the segments of the present video.
"""

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from models.data.segments import WATCHED_TO_END, SegmentInteractions, SegmentTable, SegmentViews

ID_BRANCH = "id"
CHUNK_VIEWS = 1024  # views that are scored at a time


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
        num_users: Number of known users. Row 0 of the embedding stands for the others. None: the ID branch
            reads the IDs of the videos that the user watched, so that it needs no list of users.
        num_videos: Number of known videos. Row 0 of the embedding stands for the others.
        max_segments: T of the longest video.
        width: D.
        num_layers: Layers of cross-attention.
        dropout: Dropout rate.
    """

    def __init__(
        self,
        modalities: Mapping[str, int],
        num_users: int | None,
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
        self.user_embedding = None if num_users is None else nn.Embedding(num_users + 1, width, padding_idx=0)
        self.id_embedding = nn.Embedding(num_videos + 1, width, padding_idx=0)
        self.position_embedding = nn.Embedding(max_segments, width)
        self.exit_embedding = nn.Embedding(2, width)  # whether the user left in a segment watched before
        for table in (self.user_embedding, self.id_embedding, self.position_embedding, self.exit_embedding):
            if table is not None:
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
        if branch == ID_BRANCH:
            (u_BOD, has_BO), (v_BTD, has_BT) = self._id_inputs(interactions, segment_table)
        elif branch in segment_table.features:
            (u_BOD, has_BO), (v_BTD, has_BT) = self._content_inputs(branch, interactions, segment_table)
        else:
            size = (len(interactions.video_B), segment_table.max_segments)
            return self.position_embedding.weight.new_zeros(*size, self.position_embedding.embedding_dim)
        for layer in self.layers[branch]:  # type: ignore[attr-defined]  # a ModuleList
            u_BOD, v_BTD = layer(u_BOD, v_BTD, torch.cat([has_BO, has_BT], 1))
        return torch.where(has_BT.unsqueeze(2), v_BTD, 0.0)

    def _id_inputs(
        self, interactions: SegmentInteractions, segment_table: SegmentTable
    ) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
        """Return u_BOD and v_BTD of the ID branch, each with its mask."""
        has_BT, id_row_V = segment_table.mask(interactions.video_B), segment_table.id_row_V
        position_TD = self.position_embedding.weight[: has_BT.shape[1]]
        v_BTD = self.id_embedding(id_row_V[interactions.video_B]).unsqueeze(1) + position_TD
        if self.user_embedding is not None:
            u_BOD = self.user_embedding(interactions.user_B).unsqueeze(1)
            return (u_BOD, torch.ones(len(u_BOD), 1).bool()), (v_BTD, has_BT)
        video_BO, segment_BO = interactions.history_BO2.unbind(2)
        u_BOD = self.id_embedding(id_row_V[video_BO]) + self.position_embedding(segment_BO)
        u_BOD = u_BOD + self.exit_embedding(interactions.history_exit_BO.long())
        return (u_BOD, interactions.history_mask_BO), (v_BTD, has_BT)

    def _content_inputs(
        self, branch: str, interactions: SegmentInteractions, segment_table: SegmentTable
    ) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
        """Return u_BOD and v_BTD of a modality, each with its mask."""
        mask_BT = segment_table.mask(interactions.video_B)
        video_BO, segment_BO = interactions.history_BO2.unbind(2)
        x_NF, row_VT = segment_table.features[branch], segment_table.row_VT[branch]
        row_BO = row_VT[video_BO, segment_BO].masked_fill(~interactions.history_mask_BO, -1)
        row_BT = row_VT[interactions.video_B].masked_fill(~mask_BT, -1)
        u_BOD, v_BTD = (self.projections[branch](_rows_or_zero(x_NF, rows)) for rows in (row_BO, row_BT))
        u_BOD = u_BOD + self.exit_embedding(interactions.history_exit_BO.long())
        return (u_BOD, row_BO >= 0), (v_BTD, row_BT >= 0)


def _rows_or_zero(x_NF: Tensor, rows_BX: Tensor) -> Tensor:
    """Return x[rows] · √F, [B, X, F], with zeros for row −1.

    Encoders return unit vectors. Their numbers have a mean square of 1 / F, and those of the result of 1.
    """
    x_BXF = x_NF[rows_BX.clamp(min=0)] * x_NF.shape[1] ** 0.5
    return x_BXF.masked_fill((rows_BX < 0).unsqueeze(2), 0.0)


@torch.no_grad()
def interest_in_chunks(
    model: SegmentInterest, segment_table: SegmentTable, views: SegmentViews
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the interest p_BT in each segment of the video of each view, and which segments exist.

    Args:
        model: It is set to evaluation mode.
        segment_table: The segments of all videos.
        views: Of any number.
    """
    model.eval()
    for rows_B in torch.arange(len(views)).split(CHUNK_VIEWS):
        batch = views.select(rows_B).batch()
        yield model(batch, segment_table), segment_table.mask(batch.video_B)


def predict_interest(
    model: SegmentInterest, segment_table: SegmentTable, views: SegmentViews
) -> tuple[Tensor, Tensor]:
    """Return the interest p_ET in each segment of the video of each view, and which segments exist."""
    chunks = list(interest_in_chunks(model, segment_table, views))
    if not chunks:
        return torch.zeros(0, segment_table.max_segments), segment_table.mask(views.video_E)
    p_ET, mask_ET = (torch.cat(parts) for parts in zip(*chunks, strict=True))
    return p_ET, mask_ET


def evaluate_skips(
    model: SegmentInterest, segment_table: SegmentTable, views: SegmentViews
) -> dict[str, Tensor]:
    """Return HR@k and NDCG@k of skip prediction, one value for each view that ended early."""
    p_ET, mask_ET = predict_interest(model, segment_table, views)
    return skip_metrics(skip_ranks(p_ET, views.exit_segment_E, mask_ET))


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


def exit_log_probabilities(p_BT: Tensor, mask_BT: Tensor) -> Tensor:
    """Return ln P of leaving in each segment, and of watching to the end, [B, T + 1].

    The weight of leaving in segment t is exp(−p_t), and that of watching to the end is 1.
    """
    return F.pad(-p_BT.masked_fill(~mask_BT, torch.inf), (0, 1)).log_softmax(1)


def exit_loss(p_BT: Tensor, exit_segment_B: Tensor, mask_BT: Tensor) -> Tensor:
    """Return −ln P of how each view ended, as the mean over all views.

    Within a video it orders segments as `intra_video_loss` does. It also learns from views to the end, so
    that the probabilities of different videos can be compared.
    """
    outcome_B = torch.where(exit_segment_B == WATCHED_TO_END, p_BT.shape[1], exit_segment_B)
    return F.nll_loss(exit_log_probabilities(p_BT, mask_BT), outcome_B)


def stay_probabilities(p_BT: Tensor, mask_BT: Tensor) -> Tensor:
    """Return the probability that the user is still there after each segment, [B, T]. It never rises."""
    return (1 - exit_log_probabilities(p_BT, mask_BT)[:, :-1].exp().cumsum(1)).clamp(0, 1)


def expected_watch_share(p_BT: Tensor, mask_BT: Tensor) -> Tensor:
    """Return the expected share of the video that is watched, [B]. 0 for a video without segments.

    On average a user who leaves in a segment has watched half of it.
    """
    stay_BT = stay_probabilities(p_BT, mask_BT)
    watched_BT = (F.pad(stay_BT, (1, 0), value=1.0)[:, :-1] + stay_BT) / 2
    return watched_BT.masked_fill(~mask_BT, 0.0).sum(1) / mask_BT.sum(1).clamp(min=1)


def skip_probability(p_BT: Tensor, mask_BT: Tensor, skip_watch_ratio: float) -> Tensor:
    """Return the probability that the user leaves before this watch ratio, [B].

    Within a segment all moments are equally likely.
    """
    exit_BT = exit_log_probabilities(p_BT, mask_BT)[:, :-1].exp()
    skipped_B1 = skip_watch_ratio * mask_BT.sum(1, keepdim=True)
    return (exit_BT * (skipped_B1 - torch.arange(p_BT.shape[1])).clamp(0, 1)).sum(1)


def position_baseline(views: SegmentViews, max_segments: int) -> Tensor:
    """Return p_T of a baseline that knows positions only.

    The weights of `exit_log_probabilities` are how many views ended at each position or were watched to the
    end, each plus 1.
    """
    is_exit_E = views.exit_segment_E != WATCHED_TO_END
    num_exits_T = torch.bincount(views.exit_segment_E[is_exit_E], minlength=max_segments)[:max_segments]
    return torch.log1p((~is_exit_E).sum()) - torch.log1p(num_exits_T)
