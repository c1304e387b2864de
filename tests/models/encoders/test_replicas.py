import threading
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from models.encoders import Encoder, EncoderReplicas
from tests.support.encoder_inputs import CPU, ENCODER_BUILDERS, make_inputs


@pytest.mark.parametrize("modality", ENCODER_BUILDERS)
@pytest.mark.parametrize("count", [1, 2, 7])
def test_several_devices_give_the_vectors_of_one(modality: str, count: int) -> None:
    encoder = ENCODER_BUILDERS[modality]("default", CPU)
    items, _ = make_inputs(modality, count)
    assert EncoderReplicas(encoder, [CPU] * 3).encode(items) == pytest.approx(encoder.encode(items), abs=1e-5)


@pytest.mark.parametrize("modality", ENCODER_BUILDERS)
def test_one_device_gives_the_bits_of_the_encoder(modality: str) -> None:
    encoder = ENCODER_BUILDERS[modality]("default", CPU)
    items, _ = make_inputs(modality, 5)
    assert np.array_equal(EncoderReplicas(encoder, [CPU]).encode(items), encoder.encode(items))


class BarrierEncoder(Encoder):
    """Encodes only while another device encodes."""

    both = threading.Barrier(2, timeout=20)
    sizes: list[int] = []  # noqa: RUF012 - shared by the copies on purpose

    def __init__(self) -> None:
        super().__init__(nn.Linear(3, 4), CPU)

    def forward(self, batch: Sequence[Sequence[float]]) -> Tensor:
        self.both.wait()
        self.sizes.append(len(batch))
        return self.model(torch.tensor(batch))


def test_shards_are_even_and_encoded_in_parallel() -> None:
    assert EncoderReplicas(BarrierEncoder(), [CPU, CPU]).encode([[1.0, 2.0, 3.0]] * 5).shape == (5, 4)
    assert sorted(BarrierEncoder.sizes) == [2, 3]


def test_an_error_on_one_device_is_raised() -> None:
    class Broken(Encoder):
        def forward(self, batch: Sequence[float]) -> Tensor:
            raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError, match="out of memory"):
        EncoderReplicas(Broken(nn.Linear(3, 4), CPU), [CPU, CPU]).encode([1.0, 2.0])


class LimitedMemoryEncoder(Encoder):
    """Runs out of memory above a batch size."""

    def __init__(self, max_batch: int) -> None:
        super().__init__(nn.Linear(3, 4), CPU)
        self.max_batch, self.sizes = max_batch, list[int]()

    def forward(self, batch: Sequence[Sequence[float]]) -> Tensor:
        self.sizes.append(len(batch))
        if len(batch) > self.max_batch:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return self.model(torch.tensor(batch))


def test_a_batch_is_halved_until_it_fits() -> None:
    encoder, batch = LimitedMemoryEncoder(3), [[1.0, 2.0, float(i)] for i in range(8)]
    replicas = EncoderReplicas(encoder, [CPU])
    assert replicas.encode(batch).shape == (8, 4)
    assert encoder.sizes == [8, 4, 2, 2, 2, 2]
    expected = np.concatenate([encoder.encode(batch[i : i + 2]) for i in range(0, 8, 2)])
    encoder.sizes.clear()
    assert np.array_equal(replicas.encode(batch), expected)
    assert encoder.sizes == [2, 2, 2, 2]


def test_an_input_too_large_for_the_device_is_an_error() -> None:
    with pytest.raises(torch.OutOfMemoryError, match="out of memory"):
        EncoderReplicas(LimitedMemoryEncoder(0), [CPU]).encode([[1.0, 2.0, 3.0]] * 3)
