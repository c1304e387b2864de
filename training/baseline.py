"""Training of a baseline as the challenger of a night, with the data of the interest model."""

from core.config.model_half import TrainConfig
from core.errors import InputError
from models import distributed
from models.baselines import BASELINES
from models.baselines.din import DIN
from models.config import ModelConfig
from models.data.targets import Targets
from models.data.users import UserData
from models.evaluation.scoring import Scorer, mean_ndcg
from models.training.baselines import fit_baseline, positive_auc
from snapshots.reader import SnapshotReader, unseen_positives
from training.interest import VALIDATION_K, VALIDATION_METRIC


def train_baseline(
    params: TrainConfig, snapshot: SnapshotReader, config: ModelConfig
) -> tuple[Scorer, Targets, list[dict[str, float]]]:
    """Train the baseline that `train.model.name` selects.

    NDCG@10 on the validation day selects the epoch. For DIN, which ranks only the shown videos, AUC does.

    Args:
        params: Section `train` of params.yaml.
        snapshot: Of the night.
        config: Of the baseline. The fields that it does not read have neutral values.

    Returns:
        The scorer with the trained model, the targets of the validation day, and the curve.

    Raises:
        InputError: torchrun started several processes, or the parameters ask for a GPU or for bf16. A
            baseline is trained by one process on the CPU in fp32.
        FloatingPointError: A loss or gradient is not finite.
    """
    _require_plain_training(params)
    model, sequences = BASELINES[config.model](config), snapshot.sequences("train")
    users = UserData(sequences, snapshot.user_profiles(config, "train"), snapshot.seen_items("train"))
    scorer = Scorer(model, snapshot.item_table({}, config.video_ids), users)
    interactions = snapshot.interactions("valid")
    valid = unseen_positives(interactions, users.seen, snapshot.videos.num_rows)

    def validate() -> dict[str, float]:
        if isinstance(model, DIN):
            return positive_auc(scorer, interactions.user_N, interactions.video_N, interactions.positive_N)
        return {VALIDATION_METRIC: mean_ndcg(scorer, valid, VALIDATION_K)} if len(valid.user_P) else {}

    curve = fit_baseline(
        model,
        sequences,
        scorer.item_table.id_row_V,
        params,
        validate,
        selection_metric="auc" if isinstance(model, DIN) else VALIDATION_METRIC,
    )
    model.drop_user_embeddings()
    return scorer, valid, curve


def _require_plain_training(params: TrainConfig) -> None:
    name = params.model.name
    if distributed.get_world_size() > 1:
        raise InputError(f"train.model.name: {name} is trained by one process; start it without torchrun")
    if params.device == "cuda":
        raise InputError(
            f"params.yaml: train.device is cuda, but {name} is trained on the CPU; write auto or cpu"
        )
    if params.precision == "bf16":
        raise InputError(
            f"params.yaml: train.precision is bf16, but {name} is trained in fp32; write auto or fp32"
        )
