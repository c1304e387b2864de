"""Modality attention: modality weights and fusion, equations (1) and (2) of arXiv 2509.04751.

A modality that a video lacks is masked before the softmax. So the values of its features cannot matter.
"""

import torch
from torch import Tensor

from models.data.items import ItemEmbeddings, embedding_lookup


def modality_weights(affinity: Tensor, has: Tensor, dim: int) -> Tensor:
    """Return α of equation (1): a softmax over the modalities that the video has.

    A video without any modality gets zeros.

    Args:
        affinity: Logits.
        has: Bool, whether the video has the modality.
        dim: The axis of the modalities.
    """
    masked = affinity.masked_fill(~has, torch.finfo(affinity.dtype).min)
    return torch.softmax(masked, dim) * has


def affinity(u_NW: Tensor, x_NMD: Tensor) -> Tensor:
    """Return the logits uᵀ x̃ₘ / √D + tₘ [N, M].

    Args:
        u_NW: The last M numbers are t, the log modality weights. Without a content part there are no others.
        x_NMD: Modality embeddings.
    """
    if u_NW.shape[-1] == x_NMD.shape[-2]:
        return u_NW.to(x_NMD.dtype)
    u_ND, tag_NM = u_NW.split([x_NMD.shape[-1], x_NMD.shape[-2]], -1)
    return (x_NMD * u_ND.unsqueeze(-2)).sum(-1) * u_ND.shape[-1] ** -0.5 + tag_NM


def fuse_modalities(
    u_NW: Tensor, items: ItemEmbeddings, rows_N: Tensor, scale_NMD: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Compute equations (1) and (2) for one video for each row of u.

    Args:
        u_NW: Modality preference. Leading axes may be any, such as N or B and T.
        items: All videos.
        rows_N: The video of each row.
        scale_NMD: Scale of the modality embeddings in equation (2), for each row or broadcast to it. None: 1.

    Returns:
        The item embedding f_ND and the modality weights alpha_NM.
    """
    x_NMD = embedding_lookup(items.x_VMD, rows_N)
    alpha_NM = modality_weights(affinity(u_NW, x_NMD), items.has_VM[rows_N], -1)
    scaled_NMD = x_NMD if scale_NMD is None else x_NMD * scale_NMD
    content_ND = (alpha_NM.unsqueeze(-1) * scaled_NMD).sum(-2)
    content_share_N1 = 1 - embedding_lookup(items.id_gate_V, rows_N).unsqueeze(-1)
    return content_share_N1 * content_ND + embedding_lookup(items.identity_VD, rows_N), alpha_NM


def unfused_modalities(items: ItemEmbeddings, rows_N: Tensor, scale_NMD: Tensor | None = None) -> Tensor:
    """Return the modality embeddings of these videos, each mixed with ID and attributes: x_NMD.

    Args:
        items: All videos.
        rows_N: The videos. Leading axes may be any, such as N or B and T.
        scale_NMD: Scale of the modality embeddings, for each row or broadcast to it. None: 1.
    """
    content_share_N11 = 1 - embedding_lookup(items.id_gate_V, rows_N)[..., None, None]
    identity_N1D = embedding_lookup(items.identity_VD, rows_N).unsqueeze(-2)
    x_NMD = embedding_lookup(items.x_VMD, rows_N)
    return content_share_N11 * (x_NMD if scale_NMD is None else x_NMD * scale_NMD) + identity_N1D
