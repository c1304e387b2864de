"""Segment interest: in which part of a video would this person leave? (SegMM, arXiv 2504.04237)

A video is cut into segments of a few seconds. What the person watched before, segment by segment, meets the
segments of the video at hand, in each modality apart and by ID; the lower a segment's score, the sooner they
leave there. Unlike the published code, the last layer counts, and padding neither takes part nor is ranked.

Legend: B views, V videos, N segments of the video at hand, M segments watched before, F features, D width.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

FINISHED = -1  # `left_B` of a view that was watched to its end
IDS = "id"


@dataclass(frozen=True)
class SegmentCatalogue:
    """What segments show or sound like: modality -> [V, N, F], and whether [V, N]; how many there are [V]."""

    features: Mapping[str, Tensor]
    has: Mapping[str, Tensor]
    length_V: Tensor


@dataclass(frozen=True)
class Views:
    """Views to learn from or to score.

    Attributes:
        user_B: row of the person, 0: unknown. video_B: row in the catalogue.
        id_B: row of the video's ID embedding, 0: unknown.
        left_B: the segment in which the person left, or FINISHED.
        watched_BM2: (video row, segment) of what the person watched before this view, newest first.
        mask_BM: which of them are there. ended_BM: in which of them the person left.
    """

    user_B: Tensor
    video_B: Tensor
    id_B: Tensor
    left_B: Tensor
    watched_BM2: Tensor
    mask_BM: Tensor
    ended_BM: Tensor

    def take(self, rows: Tensor) -> "Views":
        """These views only."""
        return replace(self, **{name: value[rows] for name, value in vars(self).items()})


class CrossLayer(nn.Module):
    """Both sides look at both: V' = softmax([V Uᵀ ⊕ V Vᵀ] / √D) (U ⊕ V), and the same for U."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.before, self.after = nn.LayerNorm(width), nn.LayerNorm(width)
        self.feed = nn.Sequential(
            nn.Linear(width, 2 * width), nn.GELU(), nn.Dropout(dropout), nn.Linear(2 * width, width)
        )

    def forward(self, u_BMD: Tensor, v_BND: Tensor, has_BK: Tensor) -> tuple[Tensor, Tensor]:
        """The next (u_BMD, v_BND). has_BK: which of the M + N are there; nobody looks at the others."""
        x_BKD = torch.cat([u_BMD, v_BND], 1)
        # A row without anything to look at would be NaN; it looks at itself, and nobody reads it.
        own_KK = torch.eye(x_BKD.shape[1], dtype=torch.bool)
        y_BKD = self.before(x_BKD)
        x_BKD = x_BKD + F.scaled_dot_product_attention(
            y_BKD, y_BKD, y_BKD, attn_mask=has_BK[:, None, :] | own_KK
        )
        x_BKD = x_BKD + self.feed(self.after(x_BKD))
        return x_BKD[:, : u_BMD.shape[1]], x_BKD[:, u_BMD.shape[1] :]


class SegmentInterest(nn.Module):
    """Interest p of a person in each segment of a video.

    Args:
        modalities: name -> width of its features; none: IDs and positions only.
        users, videos: how many are known; row 0 of each embedding stands for the others.
        max_segments: N of the longest video.
    """

    def __init__(
        self,
        modalities: Mapping[str, int],
        users: int,
        videos: int,
        max_segments: int,
        width: int = 32,
        layers: int = 2,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.sides = [IDS, *modalities]
        self.project = nn.ModuleDict(
            {m: nn.Linear(size, width, bias=False) for m, size in modalities.items()}
        )
        self.user = nn.Embedding(users + 1, width, padding_idx=0)
        self.video = nn.Embedding(videos + 1, width, padding_idx=0)
        self.position = nn.Embedding(max_segments, width)
        self.ended = nn.Embedding(2, width)  # whether the person left in a segment watched before
        for table in (self.user, self.video, self.position, self.ended):
            nn.init.normal_(table.weight, std=0.02)
        self.layers = nn.ModuleDict(
            {side: nn.ModuleList(CrossLayer(width, dropout) for _ in range(layers)) for side in self.sides}
        )
        self.alone = nn.ModuleDict({side: nn.Linear(width, 1, bias=False) for side in self.sides})
        pairs = len(self.sides) * (len(self.sides) - 1) // 2
        self.together = nn.Parameter(torch.zeros(pairs))
        self.bias = nn.Parameter(torch.zeros(max_segments))

    def forward(self, views: Views, catalogue: SegmentCatalogue) -> Tensor:
        """p_BN: the higher, the more interesting; what stands beyond a video's end means nothing."""
        latent = [self._side(side, views, catalogue) for side in self.sides]
        p_BN = torch.stack(
            [self.alone[side](x_BND).squeeze(2) for side, x_BND in zip(self.sides, latent, strict=True)]
        ).sum(0)
        pairs = [(a, b) for i, a in enumerate(latent) for b in latent[i + 1 :]]
        for weight, (a_BND, b_BND) in zip(self.together, pairs, strict=True):
            p_BN = p_BN + weight * (a_BND * b_BND).mean(2)
        return p_BN + self.bias[: p_BN.shape[1]]

    def _side(self, side: str, views: Views, catalogue: SegmentCatalogue) -> Tensor:
        """The video's segments [B, N, D] after they met the person's; zero where they are missing."""
        there_BN = there(views, catalogue)
        if side == IDS:
            u_BMD, has_BM = self.user(views.user_B).unsqueeze(1), torch.ones(len(views.user_B), 1).bool()
            v_BND = self.video(views.id_B).unsqueeze(1) + self.position.weight[: there_BN.shape[1]]
            has_BN = there_BN
        else:
            x_VNF, has_VN = catalogue.features[side], catalogue.has[side]
            video_BM, segment_BM = views.watched_BM2.unbind(2)
            has_BM = views.mask_BM & has_VN[video_BM, segment_BM]
            has_BN = there_BN & has_VN[views.video_B]
            u_BMD = self.project[side](x_VNF[video_BM, segment_BM].masked_fill(~has_BM.unsqueeze(2), 0.0))
            u_BMD = u_BMD + self.ended(views.ended_BM.long())
            v_BND = self.project[side](x_VNF[views.video_B].masked_fill(~has_BN.unsqueeze(2), 0.0))
        for layer in self.layers[side]:  # type: ignore[attr-defined]  # a ModuleList
            u_BMD, v_BND = layer(u_BMD, v_BND, torch.cat([has_BM, has_BN], 1))
        return torch.where(has_BN.unsqueeze(2), v_BND, 0.0)


def there(views: Views, catalogue: SegmentCatalogue) -> Tensor:
    """Bool [B, N]: the segments that each view's video has."""
    width = max((has.shape[1] for has in catalogue.has.values()), default=int(catalogue.length_V.max()))
    return torch.arange(width) < catalogue.length_V[views.video_B][:, None]


def intra_video_loss(p_BN: Tensor, left_B: Tensor, there_BN: Tensor) -> Tensor:
    """−Σ_{j≠y} ln σ(p_j − p_y), mean over the views that ended before the video did; y: the segment left."""
    ended_B = left_B != FINISHED
    p_EN, left_E, there_EN = p_BN[ended_B], left_B[ended_B], there_BN[ended_B]
    if not len(left_E):
        return p_BN.sum() * 0.0
    other_EN = there_EN & (torch.arange(p_EN.shape[1]) != left_E[:, None])
    loss_EN = F.softplus(p_EN.gather(1, left_E[:, None]) - p_EN)
    return loss_EN.masked_fill(~other_EN, 0.0).sum() / len(left_E)


def skip_ranks(p_BN: Tensor, left_B: Tensor, there_BN: Tensor) -> Tensor:
    """Rank (from 0) of the segment left among the video's own, by ascending p; views with an end only [E].

    Of segments with equal p the earlier one comes first.
    """
    ended_B = left_B != FINISHED
    p_EN, left_E, there_EN = p_BN[ended_B], left_B[ended_B], there_BN[ended_B]
    own_E1 = p_EN.gather(1, left_E[:, None])
    earlier_EN = torch.arange(p_EN.shape[1]) < left_E[:, None]
    return (there_EN & ((p_EN < own_E1) | ((p_EN == own_E1) & earlier_EN))).sum(1)


def skip_metrics(rank_E: Tensor, at: tuple[int, ...] = (1, 5, 10)) -> dict[str, Tensor]:
    """HR@k and NDCG@k of each view [E]; one relevant segment a view, so the ideal gain is 1."""
    gain_E = 1 / torch.log2(2.0 + rank_E)
    hits = {f"hr@{k}": (rank_E < k).float() for k in at}
    return hits | {f"ndcg@{k}": torch.where(rank_E < k, gain_E, 0.0) for k in at}


def position_only(train: Views, max_segments: int) -> Tensor:
    """p_N of the baseline that knows nothing but positions: minus how often training views ended there."""
    left_E = train.left_B[train.left_B != FINISHED]
    return -torch.bincount(left_E, minlength=max_segments)[:max_segments].float()
