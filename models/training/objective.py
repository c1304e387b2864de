"""The losses of the interest model for one training step.

Several processes may share a batch (models/distributed.py). Each has its own users and the same candidate
videos. The losses of all processes add up to the loss of one process with all users.
"""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from models import distributed
from models.data.items import ItemEmbeddings, ItemTable
from models.data.positives import sample_next_positive
from models.data.sequences import SeenItems, SequenceBatch, recency_weights
from models.data.targets import behaviour_labels
from models.data.user_state import UserState
from models.data.users import UserData
from models.interest_model import InterestModel
from models.layers.reliability import reliability_loss
from models.losses.fused_linear_cross_entropy import fused_linear_cross_entropy
from models.losses.info_nce import NearDuplicates, anchor_loss, info_nce_loss
from models.losses.softmax import behaviour_loss, chunked_loss, sampled_softmax_loss
from models.ranking.heads import hide_contexts

SAMPLING_EXPONENT = 0.75  # exponent of the interaction counts in negative sampling (word2vec)
ALIGNMENT_VIDEOS = 256  # videos in the alignment and anchor losses of a step


class ObjectiveSettings(Protocol):
    """Weights and settings of the losses, as in section `train.model.objective` of params.yaml.

    The retrieval loss has weight 1.

    Attributes:
        ranking_weight: Weight of the loss of the ranking heads.
        align_weight: Weight of the alignment loss.
        anchor_weight: Weight of the loss that keeps the embeddings near `Objective.reference_VMD`.
        num_negatives: Candidates drawn in each step for the softmax of retrieval. With 0 all training videos
            are candidates.
        id_dropout: Share of the videos that a step treats as new. So the model learns to rank by content
            alone.
        horizon: The target of a state is one of the next `horizon` positives.
        recency_half_life_days: A target so many days before `Objective.last_day` has weight 1/2 in retrieval,
            twice as many days 1/4. With 0 all targets have weight 1.
    """

    @property
    def ranking_weight(self) -> float: ...
    @property
    def align_weight(self) -> float: ...
    @property
    def anchor_weight(self) -> float: ...
    @property
    def num_negatives(self) -> int: ...
    @property
    def id_dropout(self) -> float: ...
    @property
    def horizon(self) -> int: ...
    @property
    def recency_half_life_days(self) -> float: ...


@dataclass(frozen=True)
class Objective:
    """The objective of training: the settings, and what the losses read of the data.

    Attributes:
        settings: Weights and settings of the losses.
        last_day: The last training day, in days since 1970.
        alignment_rows: Rows of the videos that the alignment loss draws from.
        near_duplicate_cosine: From this cosine on, two videos are near duplicates.
        reference_VMD: The champion's modality embeddings of all videos. None if there is nothing to compare.
    """

    settings: ObjectiveSettings
    last_day: int
    alignment_rows: Tensor
    near_duplicate_cosine: float
    reference_VMD: Tensor | None = None


@dataclass(frozen=True)
class Candidates:
    """The candidate videos of the retrieval softmax.

    Attributes:
        row_C: Row of each candidate.
        log_expected_count_C: Log of how often the sampling was expected to draw it. 0 without sampling.
    """

    row_C: Tensor
    log_expected_count_C: Tensor


def sample_candidates(model: InterestModel, item_table: ItemTable, num_negatives: int) -> Candidates:
    """Return the candidates of a step.

    Args:
        model: Holds the number of interactions of each training video.
        item_table: The catalogue.
        num_negatives: Number of videos drawn with replacement. The probability grows with the number of
            interactions. With 0 all training videos are returned.
    """
    row_I = torch.empty_like(model.item_fusion.num_interactions_I)
    known_V = item_table.id_row_V >= 0
    row_I[item_table.id_row_V[known_V]] = known_V.nonzero().squeeze(1)
    if not num_negatives or not len(row_I):
        return Candidates(row_I, torch.zeros(len(row_I)))
    probability_I = (1.0 + model.item_fusion.num_interactions_I).pow(SAMPLING_EXPONENT)
    probability_I = probability_I / probability_I.sum()
    drawn_C = torch.multinomial(probability_I, num_negatives, replacement=True)
    return Candidates(row_I[drawn_C], torch.log(num_negatives * probability_I[drawn_C]))


def compute_losses(
    model: InterestModel, item_table: ItemTable, user_data: UserData, users_B: Tensor, objective: Objective
) -> dict[str, Tensor]:
    """Return this process's part of the losses of a batch.

    Args:
        model: The interest model.
        item_table: The catalogue.
        user_data: Sequences, profiles and seen items of all users.
        users_B: Rows of the users of the batch.
        objective: Weights and settings of the losses.

    Returns:
        Name -> loss. The step minimises `total`, their weighted sum.
    """
    V = len(item_table.id_row_V)
    dropped_id_V = torch.rand(V) < objective.settings.id_dropout
    candidates = sample_candidates(model, item_table, objective.settings.num_negatives)
    alignment_order = torch.randperm(len(objective.alignment_rows))
    alignment_sample = objective.alignment_rows[alignment_order[:ALIGNMENT_VIDEOS]]
    distributed.fork_rng()  # all processes drew the same videos; now each draws for its own users
    # The newest event is a target only. So every position of the encoder is trained.
    batch = model.truncate(user_data.sequences.padded_batch(users_B, model.config.max_length + 1))
    rows_v = torch.arange(V)
    if objective.settings.num_negatives:
        rows_v = torch.cat([batch.video_BT[batch.mask_BT], candidates.row_C]).unique()
    items = model.encode_items(item_table.select(rows_v), dropped_id_V[rows_v])
    user_state = model.encode_sequence(
        batch.oldest(model.config.max_length).reindex_videos(rows_v),
        user_data.profiles.select(users_B),
        items,
    )
    step = StepInputs(model, item_table, user_data.seen, rows_v, items, batch, user_state)
    loss_by_name = {"retrieval": _retrieval_loss(step, candidates, objective)}
    if objective.settings.ranking_weight:
        loss_by_name["ranking"] = _ranking_loss(step)
    loss_by_name |= _alignment_losses(model, item_table, alignment_sample, objective)
    weight_by_name = {
        "retrieval": 1.0,
        "ranking": objective.settings.ranking_weight,
        "alignment": objective.settings.align_weight,
        "embedding_anchor": objective.settings.anchor_weight,
        "reliability": 1.0,  # only the gate gets its gradient
    }
    return {
        **loss_by_name,
        "total": torch.stack([weight_by_name[name] * loss for name, loss in loss_by_name.items()]).sum(),
    }


@dataclass(frozen=True)
class StepInputs:
    """Inputs of the losses of a step.

    Attributes:
        model: The interest model.
        item_table: The catalogue.
        seen: Videos that each user watched in the training days.
        rows_v: Sorted rows of the videos that the step encodes.
        items: Embeddings of the videos of `rows_v`.
        batch: Sequences of the users. Its videos are rows of the catalogue.
        user_state: At each state of each user; its N axis is [B, S] here.
    """

    model: InterestModel
    item_table: ItemTable
    seen: SeenItems
    rows_v: Tensor
    items: ItemEmbeddings
    batch: SequenceBatch
    user_state: UserState

    def item_positions(self, rows: Tensor) -> Tensor:
        """Return the positions of these catalogue rows in `items`."""
        return torch.searchsorted(self.rows_v, rows)


def _distributed_mean(local_sum: Tensor, local_count: Tensor) -> Tensor:
    """Return this process's part of a mean over all processes. 0 if the count is 0."""
    global_count = distributed.all_reduce(local_count)
    return local_sum / torch.where(global_count > 0, global_count, 1)


def _retrieval_loss(step: StepInputs, candidates: Candidates, objective: Objective) -> Tensor:
    """Return −log softmax of the next positives over the candidates, at the states that have one.

    Videos that the user watched are not negatives. Nor are videos that were uploaded after the target was
    watched. If α does not depend on user and video together, scores are inner products, which is cheaper.
    """
    model, item_table, batch = step.model, step.item_table, step.batch
    settings = objective.settings
    num_states = step.user_state.z_ND.shape[1]
    target_index_BS, has_target_BS = (
        x_BS[:, :num_states] for x_BS in sample_next_positive(batch, settings.horizon)
    )
    video_BS, day_BS = batch.video_BT.gather(1, target_index_BS), batch.day_BT.gather(1, target_index_BS)
    # A video that was liked but never viewed has no ID row and is no candidate.
    has_target_BS = has_target_BS & (item_table.id_row_V[video_BS] >= 0)
    weight_N = recency_weights(day_BS[has_target_BS], objective.last_day, settings.recency_half_life_days)
    if not len(weight_N):
        return _distributed_mean(step.user_state.z_ND.sum() * 0.0, weight_N.sum())
    candidate_items = step.items.select(step.item_positions(candidates.row_C))
    user_state = step.user_state.select(has_target_BS)
    # The targets are masked too, as they are seen. Their scores enter the softmax separately.
    seen_candidates = step.seen.restrict_to(batch.users_B, candidates.row_C)
    target_N = step.item_positions(video_BS[has_target_BS])
    user_N, day_N = has_target_BS.nonzero()[:, 0], day_BS[has_target_BS]

    def mask_scores(score_NC: Tensor, user_N: Tensor, day_N: Tensor) -> Tensor:
        score_NC[seen_candidates.user_item_pairs(user_N)] = -torch.inf
        if item_table.upload_day_V is not None:
            score_NC.masked_fill_(item_table.upload_day_V[candidates.row_C] > day_N[:, None], -torch.inf)
        return score_NC

    def chunk_loss(
        target_n: Tensor, user_n: Tensor, day_n: Tensor, weight_n: Tensor, *state_tensors: Tensor
    ) -> Tensor:
        state_n = UserState(*state_tensors)
        score_nC = mask_scores(model.score_items(state_n, candidate_items)[0], user_n, day_n)
        target_score_n = model.score_pairs(state_n, step.items, target_n)
        return sampled_softmax_loss(target_score_n, score_nC, candidates.log_expected_count_C, weight_n)

    factors = model.inner_product_vectors(user_state, candidate_items)
    if factors is None:
        state_tensors = [user_state.z_ND, user_state.u_NW]
        if user_state.modality_z_NMD is not None:
            state_tensors.append(user_state.modality_z_NMD)
        total = chunked_loss(
            chunk_loss, len(candidates.row_C), target_N, user_N, day_N, weight_N, *state_tensors
        )
    else:
        q_NF, w_CF = factors
        total = fused_linear_cross_entropy(
            q_NF,
            w_CF - F.pad(candidates.log_expected_count_C[:, None], (w_CF.shape[1] - 1, 0)),
            model.score_pairs(user_state, step.items, target_N),
            weight_N,
            lambda score_nC, chunk: mask_scores(score_nC, user_N[chunk], day_N[chunk]),
        )
    return _distributed_mean(total, weight_N.sum())


def _ranking_loss(step: StepInputs) -> Tensor:
    """Return the binary cross-entropy of the behaviours of each interaction, from the state before it."""
    batch, mask_BT, config = step.batch, step.batch.mask_BT, step.model.config
    user_state = step.user_state.select((slice(None), slice(mask_BT.shape[1]))).select(mask_BT)
    request_EJ = hide_contexts(batch.request_BTJ[mask_BT]) if config.request_contexts else None
    logit_EH = step.model.behaviour_logits(
        user_state, step.items, step.item_positions(batch.video_BT[mask_BT]), request_EJ
    )
    label_EH, known_EH = behaviour_labels(
        batch.watch_ratio_BT[mask_BT],
        batch.watch_ratio_known_BT[mask_BT],
        batch.behaviour_BTA[mask_BT],
        config.behaviours,
        config.skip_watch_ratio,
    )
    return _distributed_mean(behaviour_loss(logit_EH, label_EH, known_EH), known_EH.sum())


def _alignment_losses(
    model: InterestModel, item_table: ItemTable, sample_rows: Tensor, objective: Objective
) -> dict[str, Tensor]:
    """Return the losses that compare the modalities of a sample of videos.

    The alignment loss is InfoNCE between the modalities, at the temperature that the step align learned. The
    anchor loss keeps the embeddings near those of the champion. The reliability loss trains the gate of
    models/layers/reliability.py.
    """
    rows = distributed.pad_and_shard(sample_rows)
    sampled_items, project = item_table.select(rows), model.item_fusion.projections
    loss_by_name = {}
    x_VMD = project(sampled_items)
    if objective.settings.align_weight:
        near_duplicates = NearDuplicates(
            project.standardised_features(sampled_items), objective.near_duplicate_cosine
        )
        loss_by_name["alignment"] = info_nce_loss(
            x_VMD, sampled_items.has_VM, project.temperature.detach(), near_duplicates
        )
    if objective.settings.anchor_weight and objective.reference_VMD is not None:
        loss_by_name["embedding_anchor"] = anchor_loss(
            x_VMD, objective.reference_VMD[rows], sampled_items.has_VM
        )
    if model.item_fusion.reliability is not None:
        loss_by_name["reliability"] = _distributed_mean(
            *reliability_loss(model.item_fusion.reliability, project, sampled_items)
        )
    return loss_by_name
