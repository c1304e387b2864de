"""The whole model: it embeds users and videos, scores every video, and re-ranks the best."""

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from models.config import ModelConfig
from models.data.items import ItemEmbeddings, ItemTable
from models.data.sequences import SequenceBatch, Sequences
from models.data.user_state import UserState
from models.data.users import UserProfiles
from models.layers.adaptive_normalisation import UserNormalisation
from models.layers.fusion import ItemFusion
from models.layers.modality_attention import fuse_modalities, unfused_modalities
from models.layers.modality_preference import ModalityPreference
from models.layers.sequence_encoders import AttentionEncoder, InteractionEmbedding, build_encoder
from models.layers.static_gate import StaticGate
from models.layers.truncation import Truncation
from models.layers.user_profile import UserProfileEmbedding
from models.ranking.final_ranker import FinalRanker, activity_groups, age_groups
from models.ranking.heads import RankingHeads, rerank_value
from models.retrieval.full_ranking import top_k
from models.retrieval.item_scores import (
    even_weight_item_vectors,
    inner_product_vectors,
    score_all_pairs,
    score_pairs,
)
from models.sources import build_sources, source_scores

# Initial weight of the bypass (models/layers/static_gate.py): with content, and with IDs only.
BYPASS_INIT = 0.3
BYPASS_INIT_IDS_ONLY = 1.0
USER_DEPENDENT_FUSIONS = ("attention", "user", "cross", "late", "hybrid")  # α depends on the user
USER_INDEPENDENT_FUSIONS = ("uniform", "early", "tokens")
WEIGHTS_WITHOUT_CONTENT = ("user", "cross")  # α depends on the user only


class InterestModel(nn.Module):
    """Recommends videos: fusion, sequence encoder, static gate, retrieval, final ranker and ranking heads.

    Equations (1) to (4) are those of arXiv 2509.04751. A batch holds the newest `max_length` interactions.
    Retrieval scores all videos. The final ranker combines these scores with counted sources.

    Levels of fusion, `ModelConfig.fusion` (arXiv 2509.04751 and its survey):
        tokens: Data level. One encoder joins segments, words and modalities of a video, without weights.
        early: Feature level. One layer joins the modalities, without weights.
        uniform: Feature level. All modalities have the same weight.
        user: Feature level. α depends on the user only, so scores are inner products.
        attention: Feature level, equations (1) and (2).
        cross: The modalities of a video read one another, then as `user`.
        late: Decision level. One sequence for each modality. α weighs the scores of the modalities.
        hybrid: The fused sequence and those of `late`. The user embedding of a modality is the sum of both.

    The sequence of the first six, and the first of `hybrid`, has one fused vector for each event.

    Args:
        config: Everything that is needed to build the model.

    Attributes:
        fusions: The levels of fusion that the class accepts.

    Raises:
        ValueError: The level of fusion or the encoder is unknown, or the heads do not divide the width.
    """

    average_z_2D: Tensor
    average_u_2W: Tensor
    average_modality_z_2MD: Tensor

    fusions: ClassVar[tuple[str, ...]] = (*USER_DEPENDENT_FUSIONS, *USER_INDEPENDENT_FUSIONS)

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        if config.fusion not in self.fusions:
            raise ValueError(f"unknown fusion {config.fusion!r}; choose one of {', '.join(self.fusions)}")
        self.config = config
        D, M = config.width, len(config.modalities)
        self.is_late_fusion = M > 0 and config.fusion == "late"
        self.is_hybrid_fusion = M > 0 and config.fusion == "hybrid"
        self.item_fusion = ItemFusion(
            config.modalities,
            D,
            len(config.video_ids),
            level=config.fusion,
            attribute_sizes=[len(values) for values in config.item_attributes.values()],
            num_words=len(config.words),
            category=category_position(config) if M else None,
            with_reliability=config.reliability,
        )
        self.user_normalisation = (
            UserNormalisation(M, D) if M and config.normalisation == "adaptive" else None
        )
        context_sizes = [len(values) for values in config.contexts.values()]
        self.event_embedding = InteractionEmbedding(
            D, len(config.behaviours), config.max_length, config.positions, context_sizes
        )
        self.modality_preference = (
            ModalityPreference(M, D, uses_content=config.fusion not in WEIGHTS_WITHOUT_CONTENT)
            if M and config.fusion not in USER_INDEPENDENT_FUSIONS
            else None
        )
        category_sizes = [len(values) for values in config.user_categorical_features.values()]
        self.profile_embedding = (
            UserProfileEmbedding(category_sizes, len(config.user_numerical_features), D)
            if config.profile
            else None
        )
        max_states = config.max_length + 1
        self.encoder = build_encoder(
            config.encoder, D, config.layers, config.heads, config.dropout, max_states, config.positions
        )
        self.truncation = Truncation(config.skip_watch_ratio) if config.token_budget else None
        self.static_gate = StaticGate(D, BYPASS_INIT if M else BYPASS_INIT_IDS_ONLY)
        self.sources = build_sources(
            config.sources, len(config.video_ids), config.behaviours, config.modalities
        )
        self.final_ranker = FinalRanker(1 + len(config.sources))
        # The average users: without a sequence, and with one.
        self.register_buffer("average_z_2D", torch.zeros(2, D))
        self.register_buffer("average_u_2W", torch.zeros(2, D + M))
        self.register_buffer("average_modality_z_2MD", torch.zeros(2, M, D))
        request_sizes = [len(values) for values in config.request_contexts.values()]
        self.ranking_heads = RankingHeads(
            D, config.dropout, len(config.item_features), len(config.video_ids), request_sizes
        )

    @torch.no_grad()
    def copy_calibration(self, other: "InterestModel") -> None:
        """Copy what was fitted on validation days: the final ranker, and the calibration of the heads.

        Args:
            other: A model with the same sources that was trained before the validation days.
        """
        self.final_ranker.load_state_dict(other.final_ranker.state_dict())
        self.ranking_heads.scale_H.copy_(other.ranking_heads.scale_H)
        self.ranking_heads.shift_H.copy_(other.ranking_heads.shift_H)

    def encode_items(self, item_table: ItemTable, dropped_id_V: Tensor | None = None) -> ItemEmbeddings:
        """Embed every video of the table.

        Args:
            item_table: The videos.
            dropped_id_V: Bool. These videos are treated as new, for training.
        """
        return self.item_fusion(item_table, dropped_id_V)

    def encode_sequence(
        self, batch: SequenceBatch, profiles: UserProfiles, items: ItemEmbeddings
    ) -> UserState:
        """Return the user state at every moment, [B, S, …] in each field.

        Rows beyond the length of a user's sequence are arbitrary.
        """
        s_BD = self.encode_profile(profiles)
        x_XBSD, u_BSW = self._encoder_inputs(batch, profiles, items)
        h_XBSD = self.encoder(x_XBSD.flatten(0, 1)).view_as(x_XBSD)
        return self._user_state(self.static_gate(h_XBSD, s_BD), u_BSW)

    def _user_state(self, z_XBSD: Tensor, u_BSW: Tensor) -> UserState:
        """Return the user state, given the user embedding of each sequence of `_event_sequences`."""
        z_BSD = z_XBSD.mean(0) if self.is_late_fusion else z_XBSD[0]
        if not self.has_modality_states:
            return UserState(z_BSD, u_BSW)
        if self.is_hybrid_fusion:
            z_XBSD = z_XBSD[:1] + z_XBSD[1:]
        modality_z_BSMD = z_XBSD.movedim(0, 2)
        if self.user_normalisation is not None:
            modality_z_BSMD = modality_z_BSMD * self.user_normalisation(z_BSD.shape[1])
        return UserState(z_BSD, u_BSW, modality_z_BSMD)

    def encode_user(self, batch: SequenceBatch, profiles: UserProfiles, items: ItemEmbeddings) -> UserState:
        """Return the user state after the last interaction, [B, …] in each field."""
        batch = self.truncate(batch)
        return self.encode_sequence(batch, profiles, items).select(
            (torch.arange(len(batch.users_B)), batch.lengths)
        )

    def truncate(self, batch: SequenceBatch) -> SequenceBatch:
        """Return the batch without the interactions that the token budget leaves out."""
        return batch if self.truncation is None else self.truncation(batch)

    def read_lengths(self, sequences: Sequences) -> Tensor:
        """Return how many interactions of each user the model reads, [U]."""
        max_length = self.config.max_length
        if self.truncation is None:
            return sequences.lengths.clamp(max=max_length)
        return self.truncation.kept_lengths(sequences, max_length)

    def event_attention(
        self, batch: SequenceBatch, profiles: UserProfiles, items: ItemEmbeddings
    ) -> Tensor | None:
        """Return how much the newest state reads of each event [B, T], as the mean over the sequences read.

        None if the encoder has no attention (`AttentionEncoder.attention_rollout`), or does not read every
        event because of a token budget.
        """
        if not isinstance(self.encoder, AttentionEncoder) or self.truncation is not None:
            return None
        x_XBSD, _ = self._encoder_inputs(batch, profiles, items)
        rollout_XBSS = self.encoder.attention_rollout(x_XBSD.flatten(0, 1)).unflatten(0, x_XBSD.shape[:2])
        newest_BS = rollout_XBSS.mean(0)[torch.arange(len(batch.users_B)), batch.lengths]
        return newest_BS[:, 1:] * batch.mask_BT

    def score_items(self, user_state: UserState, items: ItemEmbeddings) -> tuple[Tensor, Tensor]:
        """Score every video for every row of the user state (retrieval).

        Returns:
            score_NV and the modality weights alpha_MNV.
        """
        return score_all_pairs(user_state.z_ND, user_state.u_NW, items, user_state.modality_z_NMD)

    def inner_product_vectors(
        self, user_state: UserState, items: ItemEmbeddings
    ) -> tuple[Tensor, Tensor] | None:
        """Express the scores as inner products of user and video vectors.

        The last of the F numbers is the bias of the video, and 1 for the user.

        Returns:
            q_NF of users and w_VF of videos, or None if α depends on user and video.
        """
        if self.modality_preference is None and user_state.modality_z_NMD is None:
            return F.pad(user_state.z_ND, (0, 1), value=1.0), even_weight_item_vectors(items)
        if self.modality_preference is not None and self.modality_preference.uses_content:
            return None
        return inner_product_vectors(user_state.z_ND, user_state.u_NW, items, user_state.modality_z_NMD)

    @property
    def has_modality_states(self) -> bool:
        """Whether a user state has one vector for each modality."""
        return self.is_late_fusion or self.is_hybrid_fusion or self.user_normalisation is not None

    @property
    def average_users(self) -> UserState:
        """State of the average users. Two rows: without a sequence, and with one."""
        modality_z_2MD = self.average_modality_z_2MD if self.has_modality_states else None
        return UserState(self.average_z_2D, self.average_u_2W, modality_z_2MD)

    def set_average_users(self, average_users: UserState) -> None:
        """Keep the state of the average users, which `final_scores` needs.

        Args:
            average_users: Of `models.evaluation.scoring.average_users`.
        """
        self.average_z_2D.copy_(average_users.z_ND)
        # Without a content part u has M numbers.
        self.average_u_2W.zero_()[:, -average_users.u_NW.shape[1] :] = average_users.u_NW
        if average_users.modality_z_NMD is not None:
            self.average_modality_z_2MD.copy_(average_users.modality_z_NMD)

    def personal_scores(
        self, score_NV: Tensor, lengths_N: Tensor, items: ItemEmbeddings, average_users: UserState
    ) -> Tensor:
        """Return the scores minus those of the average user.

        What all users like is known better to the sources, which are counted up to yesterday.

        Args:
            score_NV: Scores of the sequence model, as of `score_items`.
            lengths_N: Length of the sequence of each user. A user without one is compared with the average
                user without one.
            items: The same videos.
            average_users: Of `models.evaluation.scoring.average_users`.
        """
        average_2V, _ = self.score_items(average_users, items)
        return score_NV - average_2V[(lengths_N > 0).long()]

    def final_scores(
        self,
        score_BV: Tensor,
        items: ItemEmbeddings,
        batch: SequenceBatch,
        item_table: ItemTable,
        day: int | None,
    ) -> Tensor:
        """Combine the scores of the sequence model with those of the sources.

        Args:
            score_BV: Scores of the sequence model after the last interaction, as of `score_items`.
            items: All videos.
            batch: Sequences of the same users.
            item_table: All videos.
            day: The day of the recommendations, counted from 1970. None: unknown.
        """
        if not self.sources or not self.final_ranker.is_fitted:
            return score_BV
        personal_BV = self.personal_scores(score_BV, batch.lengths, items, self.average_users)
        return self.final_ranker(
            source_scores(personal_BV, self.sources, batch, item_table),
            activity_groups(batch.lengths),
            age_groups(item_table.upload_day_V, day, score_BV.shape[1]),
        )

    def score_pairs(self, user_state: UserState, items: ItemEmbeddings, rows_N: Tensor) -> Tensor:
        """Score one video for each row of the user state (retrieval): score_N."""
        return score_pairs(user_state.z_ND, user_state.u_NW, items, rows_N, user_state.modality_z_NMD)

    def behaviour_logits(
        self, user_state: UserState, items: ItemEmbeddings, rows_N: Tensor, request_NJ: Tensor | None = None
    ) -> Tensor:
        """Return the logits [N, H] of the ranking heads, for one video for each row of the user state.

        `request_NJ` has the code of each context of the request. None: unknown.
        """
        f_ND, _ = fuse_modalities(user_state.u_NW, items, rows_N)
        return self.ranking_heads(
            user_state.z_ND, f_ND, items.id_row_V[rows_N], items.item_features_VF[rows_N], request_NJ
        )

    def rerank(
        self, user_state: UserState, items: ItemEmbeddings, score_NV: Tensor, request_NJ: Tensor | None = None
    ) -> Tensor:
        """Add the value of the predicted behaviours to the scores of the best candidates (second stage).

        A candidate never falls behind a video that is not a candidate. −inf stays −inf.

        Args:
            user_state: z and u of each row.
            items: All videos.
            score_NV: Scores of retrieval; −inf for videos that must not be recommended.
            request_NJ: Code of each context of the request. None: unknown.

        Returns:
            The new score_NV. It equals the old one if the model has no second stage.
        """
        if not (num_candidates := int(self.config.rerank.get("candidates", 0))):
            return score_NV
        best_NC = top_k(score_NV, num_candidates)
        pair_P = torch.arange(len(best_NC)).repeat_interleave(best_NC.shape[1])
        row_P = best_NC.flatten()
        request_PJ = None if request_NJ is None else request_NJ[pair_P]
        p_PH = torch.sigmoid(self.behaviour_logits(user_state.select(pair_P), items, row_P, request_PJ))
        value_P = rerank_value(p_PH, self._comment_negativity(items)[row_P], self.config.rerank)
        return score_NV.scatter_add(1, best_NC, value_P.view_as(best_NC))

    def _comment_negativity(self, items: ItemEmbeddings) -> Tensor:
        """Return how negative the comments of each video are, from 0 to 1. Unknown is 0."""
        if "comment_sentiment" not in self.config.item_features:
            return torch.zeros_like(items.id_gate_V)
        column = list(self.config.item_features).index("comment_sentiment")
        mean, std = self.config.item_features["comment_sentiment"]
        known_V = items.item_features_VF[:, len(self.config.item_features) + column]
        return (-(items.item_features_VF[:, column] * std + mean)).clamp(0, 1) * known_V

    def encode_profile(self, profiles: UserProfiles) -> Tensor:
        """Return the profile vectors s_BD. They are zero if the model reads no profile."""
        if self.profile_embedding is None:
            return torch.zeros(len(profiles.category_BJ), self.config.width)
        return self.profile_embedding(profiles)

    def encode_preferences(
        self, batch: SequenceBatch, profiles: UserProfiles, items: ItemEmbeddings
    ) -> Tensor:
        """Return the modality preference u_BSW at every state."""
        if self.modality_preference is None:  # a softmax over zeros gives equal weights
            B, T = batch.mask_BT.shape
            return items.x_VMD.new_zeros(B, T + 1, sum(items.x_VMD.shape[1:]))
        return self.modality_preference(items, batch, self.encode_profile(profiles))

    def _encoder_inputs(
        self, batch: SequenceBatch, profiles: UserProfiles, items: ItemEmbeddings
    ) -> tuple[Tensor, Tensor]:
        """Return the encoder's input sequences [X, B, S, D], and u_BSW at every state.

        X is the number of sequences that the fusion level reads.
        """
        u_BSW = self.encode_preferences(batch, profiles, items)
        sequences_BTD = self._event_sequences(items, batch.video_BT, u_BSW[:, :-1])
        return torch.stack([self.event_embedding(x_BTD, batch) for x_BTD in sequences_BTD]), u_BSW

    def _event_sequences(self, items: ItemEmbeddings, video_BT: Tensor, u_BTW: Tensor) -> tuple[Tensor, ...]:
        """Return the vectors of the events, [B, T, D], once for each sequence that the fusion level reads.

        Args:
            items: All videos.
            video_BT: The video of each event.
            u_BTW: The modality preference before each event, which fuses it.
        """
        scale_TMD = None if self.user_normalisation is None else self.user_normalisation(video_BT.shape[1])
        own: tuple[Tensor, ...] = ()
        if self.is_late_fusion or self.is_hybrid_fusion:
            own = unfused_modalities(items, video_BT, scale_TMD).unbind(2)
        if self.is_late_fusion:
            return own
        return (fuse_modalities(u_BTW, items, video_BT, scale_TMD)[0], *own)


def category_position(config: ModelConfig) -> int | None:
    """Return the position of the category among the attributes for adaptive normalisation. None: it is fixed.

    Raises:
        ValueError: The normalisation is adaptive, but the category is no attribute.
    """
    if config.normalisation == "fixed":
        return None
    if "category" not in config.item_attributes:
        raise ValueError("adaptive normalisation needs the attribute category; add it to item_attributes")
    return list(config.item_attributes).index("category")
