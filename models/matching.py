"""How a person meets a video: equations (1) and (2), and the score.

Legend: V videos, M modalities, D width, E = D + M, N (person, moment) pairs, X width of an inner product.
A modality that a video lacks is masked before the softmax; what its features hold then cannot matter.
"""

import torch
from torch import Tensor

from models.fusion import Items, look_up


def modality_weights(affinity: Tensor, has: Tensor, dim: int) -> Tensor:
    """Equation (1): softmax over the modalities that are there; zeros for a video without any."""
    masked = affinity.masked_fill(~has, torch.finfo(affinity.dtype).min)
    return torch.softmax(masked, dim) * has


def affinity(u_NE: Tensor, x_NMD: Tensor) -> Tensor:
    """uᵀ x̃_m / √D [N, M]. E = D + M: behind each x̃_m stands a one-hot tag of its modality, for u to meet."""
    u_ND, tag_NM = u_NE.split([x_NMD.shape[-1], x_NMD.shape[-2]], -1)
    return (x_NMD * u_ND.unsqueeze(-2)).sum(-1) * u_ND.shape[-1] ** -0.5 + tag_NM


def fuse(u_NE: Tensor, items: Items, rows_N: Tensor) -> tuple[Tensor, Tensor]:
    """Equations (1) and (2) for one video per pair: f_ND and α_NM. Leading axes may be any (N or B, T)."""
    x_NMD = look_up(items.x_VMD, rows_N)
    alpha_NM = modality_weights(affinity(u_NE, x_NMD), items.has_VM[rows_N], -1)
    content_ND = (alpha_NM.unsqueeze(-1) * x_NMD).sum(-2)
    g_N = look_up(items.g_V, rows_N).unsqueeze(-1)
    return (1 - g_N) * content_ND + g_N * look_up(items.id_VD, rows_N), alpha_NM


def joined(items: Items) -> Tensor:
    """Each video as one row [V, D + 1]: with even weights α, its score is ⟨[z ; 1], row⟩."""
    V, M, D = items.x_VMD.shape
    f_VD, _ = fuse(torch.zeros(V, D + M), items, torch.arange(V))
    return torch.cat([f_VD * D**-0.5, items.bias_V[:, None]], 1)


def products(z_ND: Tensor, u_NE: Tensor, items: Items) -> tuple[Tensor, Tensor]:
    """Where u meets no content, scores are inner products of a person's vector and a video's: q_NX, w_VX.

    ⟨z, Σ_m α_m x̃_m⟩ = ⟨[α_v z ; α_t z ; α_a z], [x̃_v ; x̃_t ; x̃_a]⟩: any exact or approximate index of inner
    products can serve them. What a video lacks takes no part in its α, so each set of modalities that some
    video has is a block of its own, zero in the videos that have another. Behind the blocks: the ID
    embedding's D, and 1 for the bias.
    """
    tag_NM, scale = u_NE[:, -items.has_VM.shape[1] :], z_ND.shape[-1] ** -0.5
    sets_PM, set_V = items.has_VM.unique(dim=0, return_inverse=True)
    q, w = [], []
    for number, has_M in enumerate(sets_PM):
        alpha_NM = modality_weights(tag_NM, has_M.expand_as(tag_NM), 1)
        mine_V = (1 - items.g_V) * scale * (set_V == number)
        for m in has_M.nonzero().flatten().tolist():
            q.append(alpha_NM[:, m, None] * z_ND)
            w.append(mine_V[:, None] * items.x_VMD[:, m])
    q += [z_ND, torch.ones_like(z_ND[:, :1])]
    w += [(items.g_V * scale)[:, None] * items.id_VD, items.bias_V[:, None]]
    return torch.cat(q, 1), torch.cat(w, 1)


def score_pairs(
    z_ND: Tensor, u_NE: Tensor, items: Items, rows_N: Tensor, own_NMD: Tensor | None = None
) -> Tensor:
    """score_N of one video per pair, as `score` has it."""
    x_NMD, scale = look_up(items.x_VMD, rows_N), z_ND.shape[-1] ** -0.5
    alpha_NM = modality_weights(affinity(u_NE, x_NMD), items.has_VM[rows_N], 1)
    meets = z_ND.unsqueeze(1) if own_NMD is None else own_NMD
    content_N = (alpha_NM * (x_NMD * meets).sum(2)).sum(1)
    id_N, g_N = (z_ND * look_up(items.id_VD, rows_N)).sum(1), look_up(items.g_V, rows_N)
    return ((1 - g_N) * content_N + g_N * id_N) * scale + look_up(items.bias_V, rows_N)


def score(z_ND: Tensor, u_NE: Tensor, items: Items, own_NMD: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Every pair against every video: z·f(u, v), without ever holding f, which would be N × V × D.

    ⟨z, Σ_m α_m x̃_m⟩ = Σ_m α_m ⟨z, x̃_m⟩ with α_m = softmax_m⟨u, x̃_m⟩: two matrix products per modality,
    exact. Both products are scaled by 1/√D. With `own_NMD` each modality is met by an interest of its own.

    Returns:
        score_NV, alpha_MNV.
    """
    x_MDV, scale = items.x_VMD.permute(1, 2, 0), z_ND.shape[-1] ** -0.5
    u_ND, tag_NM = u_NE.split([x_MDV.shape[1], len(x_MDV)], 1)
    alpha_MNV = modality_weights(
        (u_ND @ x_MDV) * scale + tag_NM.T.unsqueeze(2), items.has_VM.T[:, None, :], 0
    )
    meets = z_ND if own_NMD is None else own_NMD.transpose(0, 1)
    content_NV = (alpha_MNV * (meets @ x_MDV)).sum(0)
    id_NV = z_ND @ items.id_VD.T
    return ((1 - items.g_V) * content_NV + items.g_V * id_NV) * scale + items.bias_V, alpha_MNV


def added(z_ND: Tensor, u_NE: Tensor, items: Items, rows_N: Tensor, own_NMD: Tensor | None = None) -> Tensor:
    """What each modality adds to the score of one video per pair, beside the average video's [N, M].

    α_m ⟨z, x̃_m − mean of x̃_m⟩: what is the same for all videos explains none. 0 where it is missing.
    """
    has_VM1 = items.has_VM.unsqueeze(2)
    mean_MD = (items.x_VMD * has_VM1).sum(0) / has_VM1.sum(0).clamp(min=1)
    _, alpha_NM = fuse(u_NE, items, rows_N)
    meets = z_ND.unsqueeze(1) if own_NMD is None else own_NMD
    beside_NM = ((items.x_VMD[rows_N] - mean_MD) * meets).sum(2) * z_ND.shape[-1] ** -0.5
    return (1 - items.g_V[rows_N].unsqueeze(1)) * alpha_NM * beside_NM
