"""Make feature vectors of videos without rendering them."""

import numpy as np

from simulator.seeds import make_rng
from simulator.topics import TOPICS

WIDTHS = {"visual": 128, "text": 64, "audio": 96}
TOPIC_NOISE = 1.0  # standard deviation for each number; the vectors of the topics have 1 too
HIDDEN_WIDTH = 64
INPUT_GAIN = 2.0  # makes the first layer nonlinear
TANH_NOISE = 0.25


def noise_vectors(seed: int, name: str, num_videos: int, width: int) -> np.ndarray:
    """Return pure noise, [V, F]."""
    return make_rng(seed, "vector-noise", name).normal(size=(num_videos, width))


def topic_vectors(seed: int, name: str, topic_V: np.ndarray, width: int) -> np.ndarray:
    """Return a random vector for each topic plus noise, [V, F].

    Args:
        name: names the random streams, such as the modality.
    """
    vector_by_topic = make_rng(seed, "vector-topics", name).normal(size=(len(TOPICS), width))
    return vector_by_topic[topic_V] + TOPIC_NOISE * noise_vectors(seed, name, len(topic_V), width)


def tanh_vectors(seed: int, name: str, latent_VK: np.ndarray, width: int) -> np.ndarray:
    """Return a fixed random two-layer network of the latent content plus noise, [V, F].

    Args:
        name: names the random streams, such as the modality.
        latent_VK: content of each video, of about unit length.
    """
    random = make_rng(seed, "vector-network", name)
    hidden_KX = random.normal(size=(latent_VK.shape[1], HIDDEN_WIDTH))
    output_XF = random.normal(size=(HIDDEN_WIDTH, width)) / np.sqrt(HIDDEN_WIDTH)
    x_VF = np.tanh(1.5 * np.tanh(INPUT_GAIN * latent_VK @ hidden_KX) @ output_XF)
    return x_VF + TANH_NOISE * noise_vectors(seed, name, len(latent_VK), width)
