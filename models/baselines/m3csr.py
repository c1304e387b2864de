"""M3CSR (RecSys 2024): content clusters carry what users like to videos without interactions.

A video is [g ID ; (1 − g) content₁ ; …] and a user is [u_b ; α₁ u₁ ; …], one part for each modality. Each
part has the width D. Half of a content part is x̃ₘ, and half is the embedding of the cluster.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from models.baselines.baseline import IdVocabulary
from models.baselines.clusters import fit_centres, nearest_centre
from models.baselines.content import ContentBaseline, ContentVocabulary, ModalityInput
from models.baselines.mf_bpr import sample_negatives
from models.baselines.sasrec import SASRec
from models.config import ModelConfig
from models.data.items import COUNT_BUCKETS, ItemTable, count_bucket
from models.data.positives import positive_id_rows
from models.data.sequences import SeenItems, SequenceBatch
from models.data.user_state import UserState
from models.data.users import UserProfiles

NUM_CLUSTERS = 64  # of each modality
STRENGTH_TEMPERATURE = 0.07  # of the modality weights, as in the paper
ORTHOGONALITY_WEIGHT = 0.1


@dataclass(frozen=True)
class GatedVocabulary(ContentVocabulary):
    """Videos as M3CSR knows them.

    Attributes:
        content_VMD: Content of each modality. Zero if missing.
        input_VD: What the sequence encoder reads.
    """

    content_VMD: Tensor
    input_VD: Tensor


class ModalityInterest(nn.Module):
    """One modality: its clusters, attention over the content of the sequence, and its strength for a user."""

    centres_KF: Tensor

    def __init__(self, num_features: int, width: int) -> None:
        super().__init__()
        self.register_buffer("centres_KF", torch.zeros(NUM_CLUSTERS, num_features))
        self.cluster_embedding = nn.Embedding(NUM_CLUSTERS, width - width // 2)
        self.query, self.key = nn.Linear(width, width), nn.Linear(width, width, bias=False)
        self.strength = nn.Linear(2 * width, 1)
        nn.init.normal_(self.cluster_embedding.weight, std=0.02)

    def init_from_statistics(self, standardised_NF: Tensor) -> None:
        """Find the clusters of the training videos that have the modality."""
        self.centres_KF.copy_(fit_centres(standardised_NF, NUM_CLUSTERS))

    def embed_clusters(self, standardised_VF: Tensor) -> Tensor:
        """Return the embedding of each video's cluster, of width D / 2."""
        return self.cluster_embedding(nearest_centre(standardised_VF, self.centres_KF))

    def forward(self, h_BSD: Tensor, content_BTD: Tensor) -> tuple[Tensor, Tensor]:
        """Return the interest uₘ [B, S, D] at every state, and the logit of its strength [B, S].

        A state reads the videos before it, and a zero vector in front of them. The strength gives no gradient
        to the interests.
        """
        content_BSD = F.pad(content_BTD, (0, 0, 1, 0))
        u_BSD = F.scaled_dot_product_attention(
            self.query(h_BSD), self.key(content_BSD), content_BSD, is_causal=True
        )
        logit_BS = self.strength(torch.cat([h_BSD, u_BSD], 2).detach()).squeeze(2)
        return u_BSD, torch.sigmoid(logit_BS) / STRENGTH_TEMPERATURE


class M3CSR(ContentBaseline, SASRec):
    """The sequence encoder of SASRec gives the behaviour interest u_b, and content gives uₘ.

    The gate g follows from the number of positives. It is 0 for a video without any. Then only its content
    and its clusters count. The loss is BPR, and the interests of two modalities should be orthogonal.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config, config.width // 2)
        D, sizes = config.width, config.modalities
        self.interests = nn.ModuleList(ModalityInterest(size, D) for size in sizes.values())
        self.content_input = nn.Linear(len(sizes) * D, D)
        self.id_gate = nn.Embedding(COUNT_BUCKETS, 1)
        nn.init.zeros_(self.id_gate.weight)

    def init_from_statistics(self, positives: SeenItems) -> None:
        super().init_from_statistics(positives)
        self.positives = positives

    def drop_user_embeddings(self) -> None:
        super().drop_user_embeddings()
        del self.positives

    def init_from_content(self, item_table: ItemTable) -> None:
        super().init_from_content(item_table)
        for modality, interest in self.modality_interests(self.training_items):
            if modality.has_V.any():
                interest.init_from_statistics(standardised(modality)[modality.has_V])

    def modality_interests(self, item_table: ItemTable) -> Iterator[tuple[ModalityInput, ModalityInterest]]:
        """Yield each modality of the videos with its layer."""
        for modality, interest in zip(self.modality_inputs(item_table), self.interests, strict=True):
            assert isinstance(interest, ModalityInterest)
            yield modality, interest

    def embed_with_clusters(self, item_table: ItemTable) -> Tensor:
        """Return the content [x̃ₘ ; embedding of the cluster] of each modality, [V, M, D]. Zero if missing."""
        x_MVD = self.embed_content(item_table) / self.config.width**0.25
        content = []
        for x_VD, (modality, interest) in zip(x_MVD, self.modality_interests(item_table), strict=True):
            cluster_VD = interest.embed_clusters(standardised(modality))
            content.append(torch.cat([x_VD, modality.has_V[:, None] * cluster_VD], 1))
        return torch.stack(content, 1)

    def encode_items(self, item_table: ItemTable) -> GatedVocabulary:
        row_V = item_table.id_row_V
        count_V = torch.where(row_V >= 0, self.num_positives_I[row_V], 0)
        g_V1 = torch.sigmoid(self.id_gate(count_bucket(count_V))) * (count_V > 0)[:, None]
        content_VMD = self.embed_with_clusters(item_table)
        id_VD = g_V1 * self.item_embedding(row_V.clamp(min=0))
        gated_VF = (1 - g_V1) * content_VMD.flatten(1)
        bias_V1 = g_V1 * self.bias[row_V][:, None]
        return GatedVocabulary(
            row_V, torch.cat([id_VD, gated_VF, bias_V1], 1), content_VMD, id_VD + self.content_input(gated_VF)
        )

    def user_vectors(self, row_BT: Tensor, items: GatedVocabulary) -> tuple[Tensor, Tensor, Tensor]:
        """Return the vectors z_BSF, the modality weights alpha_BSM and the interests u_BSMD at every state.

        Args:
            row_BT: Rows of the positives in `items`.
            items: The videos.
        """
        h_BSD = self.states_after(items.input_VD[row_BT])
        content_BTMD = items.content_VMD[row_BT]
        parts = [interest(h_BSD, content_BTMD[:, :, m]) for m, interest in enumerate(self.interests)]
        u_BSMD = torch.stack([u_BSD for u_BSD, _ in parts], 2)
        alpha_BSM = torch.stack([logit_BS for _, logit_BS in parts], 2).softmax(2)
        weighted_BSF = (alpha_BSM[..., None] * u_BSMD).flatten(2)
        return torch.cat([h_BSD, weighted_BSF, torch.ones_like(h_BSD[..., :1])], 2), alpha_BSM, u_BSMD

    def loss(self, batch: SequenceBatch, id_row_V: Tensor) -> Tensor:
        """Return BPR over the next positives, and the orthogonality of the interests."""
        row_BT, mask_BT = positive_id_rows(batch, id_row_V)
        if not mask_BT.any():
            return self.bias.sum() * 0.0
        items = self.encode_items(self.training_items)
        z_BTF, _, u_BTMD = self.user_vectors(row_BT[:, :-1], items)
        positive_BI = self.positives.mask(batch.users_B, self.num_videos)
        negative_N, valid_N = sample_negatives(positive_BI, mask_BT.nonzero()[:, 0])
        difference_NF = items.w_VF[row_BT[mask_BT]] - items.w_VF[negative_N]
        loss_N = -F.logsigmoid((z_BTF[mask_BT] * difference_NF).sum(1))
        bpr = (loss_N * valid_N).sum() / valid_N.sum().clamp(min=1)
        return bpr + ORTHOGONALITY_WEIGHT * orthogonality_loss(u_BTMD[mask_BT])

    def encode_user(self, batch: SequenceBatch, profiles: UserProfiles, items: IdVocabulary) -> UserState:
        """Return the state of each user after the last positive. New videos are read by their content."""
        assert isinstance(items, GatedVocabulary)
        row_BT, mask_BT = positive_id_rows(batch, torch.arange(len(items)))
        z_BSF, alpha_BSM, _ = self.user_vectors(row_BT, items)
        newest = torch.arange(len(row_BT)), mask_BT.sum(1)
        return UserState(z_BSF[newest], alpha_BSM[newest])


def standardised(modality: ModalityInput) -> Tensor:
    """Return the standardised features [V, F]. Zero if missing."""
    return modality.projection.standardise(modality.x_VF, modality.has_V)


def orthogonality_loss(u_NMD: Tensor) -> Tensor:
    """Return the mean squared cosine of two modalities' interests. 0 with one modality."""
    unit_NMD = F.normalize(u_NMD, dim=2)
    cosine_NMM = unit_NMD @ unit_NMD.transpose(1, 2)
    M = u_NMD.shape[1]
    return cosine_NMM.triu(1).square().sum() / max(len(u_NMD) * M * (M - 1) / 2, 1)
