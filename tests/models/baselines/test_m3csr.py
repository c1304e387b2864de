"""M3CSR: gate, clusters, attention that reads no future, and the strength without gradient."""

from dataclasses import replace

import torch

from models.baselines.m3csr import M3CSR, ModalityInterest, orthogonality_loss
from tests.support.planted_preferences import (
    VIDEOS,
    empty_profiles,
    make_item_table,
    planted_sequences,
    train_baseline,
)


def trained() -> M3CSR:
    model = train_baseline("m3csr", 2)[0].model.eval()
    assert isinstance(model, M3CSR)
    return model


def test_a_video_without_positives_is_all_content() -> None:
    model, table = trained(), make_item_table(VIDEOS + 4)
    model.num_positives_I[3] = 0
    with torch.no_grad():
        items = model.encode_items(table)
        cold_F, known_F, new_F = items.w_VF[3], items.w_VF[4], items.w_VF[VIDEOS]
    assert not cold_F[:32].any()
    assert not new_F[:32].any()
    assert cold_F[-1] == new_F[-1] == 0
    assert known_F[:32].any()
    assert torch.equal(cold_F[32:-1], items.content_VMD[3].flatten())


def test_more_positives_can_open_the_gate() -> None:
    model, table = trained(), make_item_table()
    with torch.no_grad():
        model.id_gate.weight.copy_(torch.arange(24.0)[:, None])
        model.num_positives_I[:] = 1
        few_VF = model.encode_items(table).w_VF
        model.num_positives_I[:] = 1000
        many_VF = model.encode_items(table).w_VF
    assert (many_VF[:, :32].norm(dim=1) > few_VF[:, :32].norm(dim=1)).all()
    assert (many_VF[:, 32:-1].norm(dim=1) < few_VF[:, 32:-1].norm(dim=1)).all()


def test_new_videos_of_a_cluster_share_its_embedding() -> None:
    """A gradient of a training video moves a new video through its cluster."""
    model, table = trained(), make_item_table(VIDEOS + 4)
    weight = model.interests[0].cluster_embedding.weight
    model.zero_grad()
    cluster_VD = model.embed_with_clusters(table)[:, 0, 16:]
    twin = int((cluster_VD[:VIDEOS] == cluster_VD[VIDEOS]).all(1).nonzero()[0])
    cluster_VD[twin].sum().backward()
    with torch.no_grad():
        weight.add_(weight.grad)
        moved_VD = model.embed_with_clusters(table)[:, 0, 16:] - cluster_VD
    assert torch.allclose(moved_VD[VIDEOS], torch.ones(16), atol=1e-5)
    assert not moved_VD[cluster_VD[:, 0] != cluster_VD[twin, 0]].any()


def test_a_state_reads_no_later_positive() -> None:
    model = trained()
    items, row_BT = model.encode_items(make_item_table()), torch.arange(8).view(1, 8)
    before, after = (
        model.user_vectors(row, items)[0]
        for row in (row_BT, torch.cat([row_BT[:, :5], row_BT[:, 5:] + 9], 1))
    )
    assert torch.equal(before[:, :6], after[:, :6])
    assert not torch.allclose(before[:, 6:], after[:, 6:])


def test_the_strength_gives_no_gradient_to_the_interests() -> None:
    torch.manual_seed(0)
    interest, h_BSD = ModalityInterest(4, 8), torch.randn(2, 4, 8, requires_grad=True)
    content_BTD = torch.randn(2, 3, 8, requires_grad=True)
    _, logit_BS = interest(h_BSD, content_BTD)
    logit_BS.sum().backward()
    assert h_BSD.grad is None
    assert content_BTD.grad is None
    assert interest.query.weight.grad is None
    assert interest.strength.weight.grad.any()


def test_the_orthogonality_loss_is_the_mean_squared_cosine() -> None:
    u_NMD = torch.tensor([[[1.0, 0.0], [0.0, 2.0], [3.0, 0.0]]])
    assert torch.allclose(orthogonality_loss(u_NMD), torch.tensor(1 / 3))
    assert orthogonality_loss(u_NMD[:, :1]) == 0


def test_a_new_video_in_a_sequence_is_read_by_its_content() -> None:
    model, sequences = trained(), planted_sequences()[0]
    items = model.encode_items(make_item_table(VIDEOS + 4))
    batch = sequences.padded_batch(torch.arange(1), 4)
    states = []
    for video in (VIDEOS, VIDEOS + 1):
        changed = replace(batch, video_BT=torch.where(batch.positive_BT, video, batch.video_BT))
        states.append(model.encode_user(changed, empty_profiles(1), items).z_ND)
    assert not torch.allclose(*states)
