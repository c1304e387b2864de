"""Attention between the modalities of a video: `cross` fusion, and `tokens` fusion (data level).

Both run before the modality weights. Modalities that a video lacks, and empty tokens, are masked.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from models.data.items import ItemTable, embedding_lookup
from models.layers.modality_attention import modality_weights
from models.layers.projections import ModalityProjections

CHUNK_VIDEOS = 4096  # videos whose tokens are in memory at a time when no gradient is needed


class CrossFusion(nn.Module):
    """Each modality reads the others of its video: x̃ₘ + W Σ_{k≠m} softmax_k(⟨qₘ, k_k⟩ / √D) v_k.

    This is cross-modal attention (MulT, arXiv 1906.00295) with one vector for each modality. W starts at 0,
    so each modality starts as it is. A modality without another one stays as it is.

    Args:
        width: D.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.output_projection = nn.Linear(width, width, bias=False)
        nn.init.zeros_(self.output_projection.weight)

    def forward(self, x_VMD: Tensor, item_table: ItemTable, projections: ModalityProjections) -> Tensor:
        """Return x_VMD with what each modality read of the others."""
        has_VM = item_table.has_VM
        q_VMD, k_VMD, v_VMD = self.qkv(x_VMD).chunk(3, -1)
        is_other_MM = ~torch.eye(has_VM.shape[1], dtype=torch.bool)
        logit_VMM = q_VMD @ k_VMD.transpose(1, 2) * q_VMD.shape[-1] ** -0.5
        weight_VMM = modality_weights(logit_VMM, has_VM[:, None, :] & is_other_MM, 2)
        update_VMD = self.output_projection(weight_VMM @ v_VMD)
        return x_VMD + update_VMD * has_VM[:, :, None]


class TokenFusion(nn.Module):
    """Joins the tokens of a video into one vector: a Transformer layer over all of them, then their mean.

    The tokens are the vectors of the segments, the words of the caption, and the vector of each modality
    without segments. So the parts of all modalities meet before any of them is pooled.

    Args:
        num_modalities: M.
        num_words: Words of the vocabulary.
        width: D.
    """

    def __init__(self, num_modalities: int, num_words: int, width: int) -> None:
        super().__init__()
        self.kind_embedding = nn.Parameter(torch.zeros(num_modalities + 1, width))
        self.word_embedding = nn.Embedding(num_words + 1, width, padding_idx=0) if num_words else None
        self.attention_norm, self.feed_forward_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.output_projection = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.feed_forward = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))
        self.norm = nn.LayerNorm(width)
        nn.init.normal_(self.kind_embedding, std=0.02)

    def forward(self, x_VMD: Tensor, item_table: ItemTable, projections: ModalityProjections) -> Tensor:
        """Return x_VMD with the joint vector in place of each existing modality."""
        rows_V = torch.arange(len(x_VMD))
        chunks = [rows_V] if torch.is_grad_enabled() else rows_V.split(CHUNK_VIDEOS)
        joint_VD = torch.cat([self._joint(x_VMD, rows_v, item_table, projections) for rows_v in chunks])
        return torch.where(item_table.has_VM[:, :, None], joint_VD[:, None, :], 0.0)

    def _joint(
        self, x_VMD: Tensor, rows_v: Tensor, item_table: ItemTable, projections: ModalityProjections
    ) -> Tensor:
        """Return the joint vectors of these videos, [v, D]."""
        token_vTD, mask_vT = self._tokens(x_VMD[rows_v], item_table.select(rows_v), projections)
        mask_vT[:, 0] |= ~mask_vT.any(1)  # a softmax needs a token; the video has no modality to replace
        q, k, v = self.qkv(self.attention_norm(token_vTD)).chunk(3, -1)
        attended_vTD = F.scaled_dot_product_attention(q, k, v, attn_mask=mask_vT[:, None, :])
        token_vTD = token_vTD + self.output_projection(attended_vTD)
        token_vTD = token_vTD + self.feed_forward(self.feed_forward_norm(token_vTD))
        weight_vT1 = (mask_vT / mask_vT.sum(1, keepdim=True)).unsqueeze(2)
        return self.norm((token_vTD * weight_vT1).sum(1))

    def _tokens(
        self, x_VMD: Tensor, item_table: ItemTable, projections: ModalityProjections
    ) -> tuple[Tensor, Tensor]:
        """Return the tokens [V, T, D] of all modalities and the words, and which of them exist, [V, T]."""
        tokens, masks = [], []
        for m, name in enumerate(projections.heads):
            segment_VTD, mask_VT = projections.segment_embeddings(name, item_table)
            is_pooled_V = item_table.has_VM[:, m] & ~mask_VT.any(1)
            tokens.append(torch.cat([x_VMD[:, m, None], segment_VTD], 1) + self.kind_embedding[m])
            masks.append(torch.cat([is_pooled_V[:, None], mask_VT], 1))
        if self.word_embedding is not None and item_table.word_VX is not None:
            tokens.append(embedding_lookup(self.word_embedding.weight, item_table.word_VX))
            tokens[-1] = tokens[-1] + self.kind_embedding[-1]
            masks.append((item_table.word_VX > 0) & self._has_text(item_table, projections)[:, None])
        return torch.cat(tokens, 1), torch.cat(masks, 1)

    @staticmethod
    def _has_text(item_table: ItemTable, projections: ModalityProjections) -> Tensor:
        """Return which videos have text, [V]. Without that modality, all captions are read."""
        names = list(projections.heads)
        if "text" not in names:
            return torch.ones(len(item_table.has_VM), dtype=torch.bool)
        return item_table.has_VM[:, names.index("text")]
