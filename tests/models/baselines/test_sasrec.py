"""SASRec and eSASRec do not see the future, and their softmax is full or sampled."""

from dataclasses import replace

import pytest
import torch

from models.baselines.esasrec import ESASRec
from models.baselines.sasrec import SASRec
from models.layers.sequence_encoders import LiGRBlock
from models.training.baselines import BaselineTask, BaselineTrainingConfig
from tests.support.planted_preferences import USERS, planted_sequences, small_config

MODELS = [("sasrec", SASRec), ("esasrec", ESASRec)]


@pytest.mark.parametrize(("name", "model_class"), MODELS)
def test_later_videos_do_not_change_an_earlier_state(name: str, model_class: type[SASRec]) -> None:
    torch.manual_seed(0)
    model = model_class(small_config(name)).eval()
    row_BT = torch.randint(40, (3, 8))
    for i in range(8):
        changed_BT = row_BT.clone()
        changed_BT[:, i] = (changed_BT[:, i] + 1) % 40
        before, after = model.hidden_states(row_BT), model.hidden_states(changed_BT)
        assert torch.allclose(before[:, : i + 1], after[:, : i + 1], atol=1e-5)
        assert not torch.allclose(before[:, i + 1], after[:, i + 1], atol=1e-3)


@pytest.mark.parametrize(("name", "model_class"), MODELS)
def test_order_changes_the_state(name: str, model_class: type[SASRec]) -> None:
    torch.manual_seed(0)
    model, mask_BT = model_class(small_config(name)).eval(), torch.ones(1, 3, dtype=torch.bool)
    forward, backward = (
        model.encode_sequence(torch.tensor([rows]), mask_BT) for rows in ([1, 2, 3], [2, 1, 3])
    )
    assert not torch.allclose(forward, backward, atol=1e-4)


@pytest.mark.parametrize(("name", "model_class"), MODELS)
def test_training_reaches_the_position_that_scores_a_full_sequence(
    name: str, model_class: type[SASRec]
) -> None:
    """The sequences are longer than `max_length`, so a user is scored at the last position."""
    sequences, rows_V = planted_sequences()[0], torch.arange(40)
    sequences = replace(sequences, positive_E=torch.ones_like(sequences.positive_E))
    model = model_class(small_config(name, max_length=5))
    settings = BaselineTrainingConfig(1, 1, 16, 0.003, 0.0, 5.0, 1)
    task = BaselineTask(model, sequences, rows_V, settings, dict, "")
    task.losses(torch.arange(8))["total"].backward()
    gradient_SD = model.position_embedding.weight.grad
    assert gradient_SD is not None
    assert gradient_SD.abs().sum(1).min() > 0


def test_esasrec_has_the_layers_of_ligr() -> None:
    model = ESASRec(small_config("esasrec", layers=3))
    assert [type(block) for block in model.encoder.blocks] == [LiGRBlock] * 3


@pytest.mark.parametrize(("name", "model_class"), MODELS)
def test_the_configuration_sets_the_negatives(name: str, model_class: type[SASRec]) -> None:
    """Equal weights give the same loss with all videos, and another one with a sample."""
    sequences, rows_V = planted_sequences()[0], torch.arange(40)
    batch = sequences.padded_batch(torch.arange(USERS), 12)
    losses = {}
    for num_negatives, share in ((0, True), (5, True), (5, False), (40, True)):
        torch.manual_seed(0)
        config = small_config(name, num_negatives=num_negatives, share_negatives=share)
        losses[num_negatives, share] = float(model_class(config).eval().loss(batch, rows_V).detach())
    assert losses[0, True] == losses[40, True]
    assert len(set(losses.values())) == 3
