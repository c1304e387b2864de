"""A baseline in the place of our own model, for a night: the same data, bundle and evaluation."""

from dataclasses import fields, replace

from contracts.errors import InputError
from contracts.model_params import Train
from models import processes
from models.baselines import BASELINES
from models.baselines.din import DIN
from models.baselines.fitting import Fitting, fit, liked_auc
from models.interest import Spec
from models.scoring import Scorer, Targets, mean_ndcg
from models.training import People
from tasks.fitting import K
from tasks.pinned import Pinned, targets


def train_baseline(
    params: Train, pinned: Pinned, spec: Spec
) -> tuple[Scorer, Targets, list[dict[str, float]]]:
    """Train the baseline that `train.model` names: what it is scored with, validation's targets, its curve.

    Training stops by validation NDCG@10; DIN, which ranks what is shown, by the AUC of yesterday's viewings.

    Raises:
        InputError: torchrun started several processes; a baseline is trained by one.
    """
    if processes.count() > 1:
        raise InputError(f"train.model: {params.model} is trained by one process; start it without torchrun")
    nothing: dict = {"modalities": {}, "fingerprints": {}, "categories": {}, "numbers": {}, "contexts": {}}
    spec = replace(spec, **nothing, video_numbers={})
    model, histories = BASELINES[spec.model](spec), pinned.histories("train")
    people = People(histories, pinned.profiles(spec, "train"), pinned.seen("train"))
    scorer, views = Scorer(model, pinned.catalogue({}, spec.video_ids), people), pinned.views("valid")
    valid = targets(views, people.seen, pinned.videos.num_rows)

    def validate() -> dict[str, float]:
        if isinstance(model, DIN):
            return liked_auc(scorer, views.user_N, views.row_N, views.positive_N)
        return {f"ndcg@{K}": mean_ndcg(scorer, valid, K)} if len(valid.user_P) else {}

    knobs = {field.name: getattr(params, field.name) for field in fields(Fitting)}
    curve = fit(model, histories, scorer.catalogue.id_row_V, Fitting(**knobs), validate)
    model.forget_people()
    return scorer, valid, curve
