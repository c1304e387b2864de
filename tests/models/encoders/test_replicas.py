import threading
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from models.encoders import Encoder, Replicas
from tests.models.encoders.things import CPU, MAKERS, things


@pytest.mark.parametrize("modality", MAKERS)
@pytest.mark.parametrize("count", [1, 2, 7])
def test_several_devices_give_what_one_gives_in_the_same_order(modality: str, count: int) -> None:
    encoder = MAKERS[modality]("default", CPU)
    items, _ = things(modality, count)
    assert Replicas(encoder, [CPU] * 3).encode(items) == pytest.approx(encoder.encode(items), abs=1e-5)


@pytest.mark.parametrize("modality", MAKERS)
def test_one_device_gives_the_same_bits_as_the_encoder_alone(modality: str) -> None:
    encoder = MAKERS[modality]("default", CPU)
    items, _ = things(modality, 5)
    assert np.array_equal(Replicas(encoder, [CPU]).encode(items), encoder.encode(items))


class Meeting(Encoder):
    """Encodes only when another device does so at the same time."""

    both = threading.Barrier(2, timeout=20)
    sizes: list[int] = []  # noqa: RUF012 - shared by the copies on purpose

    def __init__(self) -> None:
        super().__init__(nn.Linear(3, 4), CPU)

    def forward(self, batch: Sequence[Sequence[float]]) -> Tensor:
        self.both.wait()
        self.sizes.append(len(batch))
        return self.model(torch.tensor(batch))


def test_the_shards_of_a_batch_are_even_and_are_encoded_at_the_same_time() -> None:
    assert Replicas(Meeting(), [CPU, CPU]).encode([[1.0, 2.0, 3.0]] * 5).shape == (5, 4)
    assert sorted(Meeting.sizes) == [2, 3]


def test_what_goes_wrong_on_one_device_is_raised() -> None:
    class Broken(Encoder):
        def forward(self, batch: Sequence[float]) -> Tensor:
            raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError, match="out of memory"):
        Replicas(Broken(nn.Linear(3, 4), CPU), [CPU, CPU]).encode([1.0, 2.0])


class Small(Encoder):
    """Has memory for so many things at a time."""

    def __init__(self, most: int) -> None:
        super().__init__(nn.Linear(3, 4), CPU)
        self.most, self.sizes = most, list[int]()

    def forward(self, batch: Sequence[Sequence[float]]) -> Tensor:
        self.sizes.append(len(batch))
        if len(batch) > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return self.model(torch.tensor(batch))


def test_a_batch_is_halved_until_it_fits_and_later_ones_start_there() -> None:
    encoder, batch = Small(3), [[1.0, 2.0, float(i)] for i in range(8)]
    replicas = Replicas(encoder, [CPU])
    assert replicas.encode(batch).shape == (8, 4)
    assert encoder.sizes == [8, 4, 2, 2, 2, 2]
    expected = np.concatenate([encoder.encode(batch[i : i + 2]) for i in range(0, 8, 2)])
    encoder.sizes.clear()
    assert np.array_equal(replicas.encode(batch), expected)
    assert encoder.sizes == [2, 2, 2, 2]


def test_one_thing_too_large_for_the_device_is_raised() -> None:
    with pytest.raises(torch.OutOfMemoryError, match="out of memory"):
        Replicas(Small(0), [CPU]).encode([[1.0, 2.0, 3.0]] * 3)
