"""Scores of videos: all pairs, given pairs, inner products, and contributions of the modalities."""

from collections.abc import Sequence

import torch
from torch import Tensor

from models.data.items import ItemEmbeddings, embedding_lookup
from models.layers.modality_attention import affinity, fuse_modalities, modality_weights


def even_weight_item_vectors(items: ItemEmbeddings) -> Tensor:
    """Return each video as one vector [V, D + 1]. With equal α its score is ⟨[z ; 1], vector⟩."""
    V, M, D = items.x_VMD.shape
    f_VD, _ = fuse_modalities(torch.zeros(V, D + M), items, torch.arange(V))
    return torch.cat([f_VD * D**-0.5, items.bias_V[:, None]], 1)


def inner_product_vectors(
    z_ND: Tensor, u_NW: Tensor, items: ItemEmbeddings, modality_z_NMD: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Return vectors q_NX of users and w_VX of videos whose inner products are the scores.

    α must depend on the user only (level `user`). Then ⟨z, Σ_m α_m x̃_m⟩ = ⟨[α_v z ; α_t z ; α_a z], [x̃_v ;
    x̃_t ; x̃_a]⟩, which any index of inner products can serve. A missing modality takes no part in α. So each
    set of modalities that some video has is a block of its own. It is zero in the videos with another set.
    Behind the blocks follow D numbers for identity and attributes, and 1 for the bias.

    Args:
        z_ND: User embeddings.
        u_NW: Modality preferences. Only their last M numbers count.
        items: The videos.
        modality_z_NMD: One vector for each modality that replaces z in the content part.
    """
    scale = z_ND.shape[-1] ** -0.5
    pattern_XM, pattern_V = items.has_VM.unique(dim=0, return_inverse=True)
    patterns, w = pattern_XM.tolist(), []
    for index, pattern in enumerate(patterns):
        content_scale_V = (1 - items.id_gate_V) * scale * (pattern_V == index)
        w += [content_scale_V[:, None] * items.x_VMD[:, m] for m, has in enumerate(pattern) if has]
    w += [scale * items.identity_VD, items.bias_V[:, None]]
    return user_vectors(z_ND, u_NW, patterns, modality_z_NMD), torch.cat(w, 1)


def user_vectors(
    z_ND: Tensor,
    u_NW: Tensor,
    patterns: Sequence[Sequence[bool]],
    modality_z_NMD: Tensor | None = None,
) -> Tensor:
    """Return q_NX of `inner_product_vectors`.

    Args:
        z_ND: User embeddings.
        u_NW: Modality preferences. Their last M numbers are read.
        patterns: The sets of modalities that some video has, in the order of the blocks. Each says for every
            modality whether it is in the set.
        modality_z_NMD: One vector for each modality that replaces z in the content part.
    """
    content_z_NMD = z_ND[:, None].expand(-1, u_NW.shape[1], -1) if modality_z_NMD is None else modality_z_NMD
    tag_NM = u_NW[:, -len(patterns[0]) :] if patterns else u_NW
    q = []
    for pattern in patterns:
        alpha_NM = modality_weights(tag_NM, torch.tensor(pattern).expand_as(tag_NM), 1)
        q += [alpha_NM[:, m, None] * content_z_NMD[:, m] for m, has in enumerate(pattern) if has]
    return torch.cat([*q, z_ND, torch.ones_like(z_ND[:, :1])], 1)


def score_pairs(
    z_ND: Tensor, u_NW: Tensor, items: ItemEmbeddings, rows_N: Tensor, modality_z_NMD: Tensor | None = None
) -> Tensor:
    """Score one video for each row of z: score_N. The scores equal those of `score_all_pairs`."""
    x_NMD, scale = embedding_lookup(items.x_VMD, rows_N), z_ND.shape[-1] ** -0.5
    alpha_NM = modality_weights(affinity(u_NW, x_NMD), items.has_VM[rows_N], 1)
    user_vectors = z_ND.unsqueeze(1) if modality_z_NMD is None else modality_z_NMD
    content_N = (alpha_NM * (x_NMD * user_vectors).sum(2)).sum(1)
    identity_N = (z_ND * embedding_lookup(items.identity_VD, rows_N)).sum(1)
    content_share_N = 1 - embedding_lookup(items.id_gate_V, rows_N)
    return (content_share_N * content_N + identity_N) * scale + embedding_lookup(items.bias_V, rows_N)


def score_all_pairs(
    z_ND: Tensor, u_NW: Tensor, items: ItemEmbeddings, modality_z_NMD: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Score every video for every row of z, exactly, without a tensor of N × V × D.

    ⟨z, Σ_m α_m x̃_m⟩ = Σ_m α_m ⟨z, x̃_m⟩ with α_m = softmax_m⟨u, x̃_m⟩. So two matrix products for each
    modality are enough. Both are scaled by 1/√D.

    Args:
        z_ND: User embeddings.
        u_NW: Modality preferences, with or without a content part (`affinity`).
        items: The videos.
        modality_z_NMD: One vector for each modality that replaces z in the content part.

    Returns:
        score_NV and the modality weights alpha_MNV.
    """
    x_MDV, scale = items.x_VMD.permute(1, 2, 0), z_ND.shape[-1] ** -0.5
    tag_MN1 = u_NW[:, u_NW.shape[1] - len(x_MDV) :].T.unsqueeze(2)
    if u_NW.shape[1] == len(x_MDV):
        logit_MNV = tag_MN1.expand(-1, -1, len(items))
    else:
        logit_MNV = (u_NW[:, : x_MDV.shape[1]] @ x_MDV) * scale + tag_MN1
    alpha_MNV = modality_weights(logit_MNV, items.has_VM.T[:, None, :], 0)
    user_vectors = z_ND if modality_z_NMD is None else modality_z_NMD.transpose(0, 1)
    content_NV = (alpha_MNV * (user_vectors @ x_MDV)).sum(0)
    identity_NV = z_ND @ items.identity_VD.T
    return ((1 - items.id_gate_V) * content_NV + identity_NV) * scale + items.bias_V, alpha_MNV


def modality_contributions(
    z_ND: Tensor, u_NW: Tensor, items: ItemEmbeddings, rows_N: Tensor, modality_z_NMD: Tensor | None = None
) -> Tensor:
    """Return the contribution of each modality to the score of one video for each row of z, [N, M].

    It is (1 − g) α_m ⟨z, x̃_m − mean of x̃_m⟩ / √D. The mean over all videos is subtracted, because a part
    that all videos share explains none. The contribution of a missing modality is 0.
    """
    has_VM1 = items.has_VM.unsqueeze(2)
    mean_MD = (items.x_VMD * has_VM1).sum(0) / has_VM1.sum(0).clamp(min=1)
    _, alpha_NM = fuse_modalities(u_NW, items, rows_N)
    user_vectors = z_ND.unsqueeze(1) if modality_z_NMD is None else modality_z_NMD
    centred_NM = ((items.x_VMD[rows_N] - mean_MD) * user_vectors).sum(2) * z_ND.shape[-1] ** -0.5
    return (1 - items.id_gate_V[rows_N].unsqueeze(1)) * alpha_NM * centred_NM
