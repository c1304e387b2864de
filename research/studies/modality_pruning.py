"""Does it pay to skip a modality whose weight α is small for a user?

With `fusion: user` a score is Σ_m α_m ⟨z, x̃_m⟩ plus what identity and popularity give, and α depends on the
user and on the set of modalities that a video has. Below a threshold the product of a modality is skipped,
and the other weights are divided by their sum. The study reads the trained model of a night. It reports the
share of the products that are skipped, their time, and NDCG@10 after the final ranker. The last line is the
JSON result.
"""

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from benchmarks.result import publish_result, round_interval
from benchmarks.turns import median_seconds
from core.errors import REFUSED_INPUT, InputError
from core.paths import Night, parse_day
from evaluation.metrics import metric_per_user
from evaluation.ranking import load_scorer, rank_model, read_test_targets
from models.data.items import ItemEmbeddings
from models.data.user_state import UserState
from models.evaluation.metrics import Floats, ndcg, paired_bootstrap
from models.evaluation.scoring import Scorer
from models.interest_model import InterestModel
from models.layers.modality_attention import modality_weights
from models.retrieval.item_scores import score_all_pairs
from research.studies import RESULTS
from snapshots.reader import SnapshotReader

THRESHOLDS = (0.0, 0.05, 0.1, 0.2, 0.3)
K = 10
BOOTSTRAP_SAMPLES = 2000
ROUNDS = 50
BATCH_SIZES = (1, 64)  # users of a request


def main() -> int:
    """Run the study.

    Returns:
        0: done. 2: the night is refused.
    """
    parser = argparse.ArgumentParser(prog="python -m research.studies.modality_pruning", description=__doc__)
    parser.add_argument("--name", required=True, help="name of the data, for the result")
    parser.add_argument("--night", required=True, metavar="YYYY-MM-DD", help="night with a trained model")
    parser.add_argument("--workspace", type=Path, required=True, help="folder of the night's files")
    parser.add_argument("--keep", action="store_true", help="write research/results/pruning-<name>.json")
    args = parser.parse_args()
    try:
        figures = measure(Night(parse_day(args.night), args.workspace.resolve()))
    except InputError as error:
        print(f"modality_pruning: refused: {error}", file=sys.stderr)
        return REFUSED_INPUT
    publish_result(f"pruning-{args.name}", figures, {}, args.keep, RESULTS)
    return 0


def measure(night: Night) -> dict[str, dict[str, Any]]:
    """Return the figures of each threshold, and the time of the one product without pruning.

    Args:
        night: With a trained model.

    Raises:
        InputError: There is no trained model whose α depends on the user only.
    """
    torch.set_num_threads(1)
    snapshot = SnapshotReader(night)
    scorer = load_scorer(night.require_output("train", "model.json").parent, snapshot)
    if not isinstance(scorer.model, InterestModel) or scorer.model.config.fusion != "user":
        raise InputError(f"{night.workspace / 'train'}: pruning needs a model interest with fusion user")
    targets = read_test_targets(scorer, snapshot)
    items, state = encode(scorer, targets.users)
    seconds = time_products(ItemBlocks.of(items), state)
    figures: dict[str, dict[str, Any]] = {}
    per_user: dict[float, Floats] = {}
    for threshold in THRESHOLDS:
        ranked, _ = rank_model(f"pruned below {threshold}", pruned(scorer, threshold), targets, K)
        per_user[threshold] = metric_per_user(ndcg, ranked, targets, K)
        loss = paired_bootstrap(per_user[threshold] - per_user[0.0], BOOTSTRAP_SAMPLES, 1)
        figures[str(threshold)] = {
            "skipped": round(skipped_share(state, items, threshold), 4),
            "ndcg@10": round(float(per_user[threshold].mean()), 4),
            "minus_unpruned": round_interval(loss),
            **{
                f"time_ratio_{size}_users": round(seconds[threshold, size] / seconds[None, size], 3)
                for size in BATCH_SIZES
            },
        }
    figures["one product"] = {
        f"ms_{size}_users": round(1000 * seconds[None, size], 3) for size in BATCH_SIZES
    }
    return figures


@torch.no_grad()
def encode(scorer: Scorer, users: Tensor) -> tuple[ItemEmbeddings, UserState]:
    """Return the embeddings of all videos and the states of these users."""
    items: Any = scorer.model.eval().encode_items(scorer.item_table)
    return items, scorer.encode_user(users, items)


def prune(alpha_NM: Tensor, threshold: float) -> Tensor:
    """Return the weights with those below the threshold at 0. The others keep their proportions.

    A user whose weights are all below the threshold keeps the largest.
    """
    largest_N1 = alpha_NM.max(1, keepdim=True).values
    kept_NM = alpha_NM * (alpha_NM >= torch.minimum(largest_N1, torch.tensor(threshold)))
    total_N1 = kept_NM.sum(1, keepdim=True)
    return kept_NM * alpha_NM.sum(1, keepdim=True) / total_N1.clamp(min=torch.finfo(alpha_NM.dtype).tiny)


class PrunedModel(InterestModel):
    """The model with pruned modality weights in retrieval. Sequences are encoded as before.

    Attributes:
        threshold: Weights below it are skipped.
    """

    threshold = 0.0

    def score_items(self, user_state: UserState, items: ItemEmbeddings) -> tuple[Tensor, Tensor]:
        _, alpha_MNV = score_all_pairs(user_state.z_ND, user_state.u_NW, items)
        M, _, V = alpha_MNV.shape
        kept_XM = prune(alpha_MNV.flatten(1).T, self.threshold)
        kept_MNV = kept_XM.T.view(M, -1, V)
        content_NV = (kept_MNV * (user_state.z_ND @ items.x_VMD.permute(1, 2, 0))).sum(0)
        identity_NV = user_state.z_ND @ items.identity_VD.T
        scale = user_state.z_ND.shape[-1] ** -0.5
        score_NV = ((1 - items.id_gate_V) * content_NV + identity_NV) * scale + items.bias_V
        return score_NV, kept_MNV


def pruned(scorer: Scorer, threshold: float) -> Scorer:
    """Return the scorer with a pruned model."""
    model = PrunedModel(scorer.model.config)
    model.load_state_dict(scorer.model.state_dict())
    model.threshold = threshold
    return Scorer(model.eval(), scorer.item_table, scorer.user_data, scorer.day)


def skipped_share(state: UserState, items: ItemEmbeddings, threshold: float) -> float:
    """Return the share of the (user, video, modality) products that are skipped."""
    skipped = total = 0
    patterns_XM, count_X = items.has_VM.unique(dim=0, return_counts=True)
    for has_M, num_videos in zip(patterns_XM, count_X.tolist(), strict=True):
        tag_NM = state.u_NW[:, -len(has_M) :]
        alpha_NM = prune(modality_weights(tag_NM, has_M.expand_as(tag_NM), 1), threshold)
        skipped += num_videos * int((alpha_NM[:, has_M] == 0).sum())
        total += num_videos * alpha_NM[:, has_M].numel()
    return skipped / max(total, 1)


@dataclass(frozen=True)
class ItemBlocks:
    """The videos that have all modalities, as one block for each modality and one for the rest.

    Attributes:
        blocks: M + 1 arrays [D, V]. The last one is that of identity and attributes.
        joint_FV: All blocks as one array, F = (M + 1) · D.
        bias_V: Bias of each video.
    """

    blocks: Sequence[Tensor]
    joint_FV: Tensor
    bias_V: Tensor

    @classmethod
    def of(cls, items: ItemEmbeddings) -> "ItemBlocks":
        """Return the blocks, scaled so that their products add up to the scores."""
        full = items.select(items.has_VM.all(1).nonzero().squeeze(1))
        scale = full.x_VMD.shape[-1] ** -0.5
        content_VMD = full.x_VMD * (scale * (1 - full.id_gate_V))[:, None, None]
        parts = [*content_VMD.unbind(1), scale * full.identity_VD]
        blocks = [part_VD.T.contiguous() for part_VD in parts]
        return cls(blocks, torch.cat(blocks), full.bias_V)

    def joint_scores(self, z_ND: Tensor, alpha_NM: Tensor) -> Tensor:
        """Return score_NV by one product, without pruning."""
        q_NF = torch.cat([(alpha_NM.unsqueeze(2) * z_ND.unsqueeze(1)).flatten(1), z_ND], 1)
        return torch.addmm(self.bias_V, q_NF, self.joint_FV)

    def pruned_scores(self, z_ND: Tensor, alpha_NM: Tensor) -> Tensor:
        """Return score_NV by one product for each modality, of the users that keep it."""
        score_NV = torch.addmm(self.bias_V, z_ND, self.blocks[-1])
        for alpha_N, block_DV in zip(alpha_NM.T, self.blocks, strict=False):
            kept = alpha_N.nonzero().squeeze(1)
            if len(kept) == len(alpha_N):
                score_NV.addmm_(alpha_N[:, None] * z_ND, block_DV)
            elif len(kept):
                score_NV[kept] += (alpha_N[kept, None] * z_ND[kept]) @ block_DV
        return score_NV


@torch.no_grad()
def time_products(blocks: ItemBlocks, state: UserState) -> dict[tuple[float | None, int], float]:
    """Return the median seconds of a request, for each threshold and number of users.

    The threshold None is the one product without pruning. All are timed in turns.
    """
    M = len(blocks.blocks) - 1
    alpha_NM = state.u_NW[:, -M:].softmax(1)
    random = torch.Generator().manual_seed(1)

    def turns() -> Iterator[dict[tuple[float | None, int], Callable[[], object]]]:
        for _ in tqdm(range(ROUNDS), "time", unit="round"):
            for size in BATCH_SIZES:
                index_n = torch.randint(len(alpha_NM), (size,), generator=random)
                z_nD, alpha_nM = state.z_ND[index_n], alpha_NM[index_n]
                yield {
                    (threshold, size): partial(_request, blocks, z_nD, alpha_nM, threshold)
                    for threshold in (None, *THRESHOLDS)
                }

    return median_seconds(turns(), warm_up=True)


def _request(blocks: ItemBlocks, z_ND: Tensor, alpha_NM: Tensor, threshold: float | None) -> Tensor:
    """Return the scores, pruned below a threshold. None: by one product."""
    if threshold is None:
        return blocks.joint_scores(z_ND, alpha_NM)
    return blocks.pruned_scores(z_ND, prune(alpha_NM, threshold))


if __name__ == "__main__":
    sys.exit(main())
