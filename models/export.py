"""The user side of the interest model as one function of plain tensors, for export to ONNX.

A score is the inner product of a user vector and a video vector (`InterestModel.inner_product_vectors`). So
only the user side needs a network. The vectors of the videos are a table.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from models.config import ModelConfig
from models.data.items import ItemEmbeddings
from models.data.labels import POSITIVE_BEHAVIOURS
from models.data.sequences import SequenceBatch, time_gap_buckets
from models.data.users import UserProfiles
from models.interest_model import InterestModel
from models.retrieval.item_scores import user_vectors

PADDING = -1  # video of a position after the newest interaction
EXPORTED_FUSIONS = ("user", "uniform", "early")  # those that the tests compare with torch


@dataclass(frozen=True)
class InputSpec:
    """An input of the exported user side.

    Attributes:
        name: Of the input.
        dtype: Of its tensor.
        shape: Size of each axis. B users and T interactions may be any number.
        meaning: In words, with unit and the value of an unknown.
    """

    name: str
    dtype: torch.dtype
    shape: tuple[str | int, ...]
    meaning: str


def input_specs(config: ModelConfig) -> list[InputSpec]:
    """Return the inputs that this model reads, in order."""
    BT = ("B", "T")
    specs = [
        InputSpec("video", torch.int64, BT, f"row in items.npz, oldest first; {PADDING}: padding, last"),
        InputSpec("started_at", torch.int64, BT, "start of the interaction, seconds since 1970 UTC"),
        InputSpec("hour", torch.int64, BT, "local hour of the day, 0 to 23"),
        InputSpec("watch_ratio", torch.float32, BT, "watched share of the duration; NaN: unknown"),
        InputSpec(
            "behaviours",
            torch.bool,
            (*BT, len(config.behaviours)),
            "done or not, in the order of `behaviours`",
        ),
        InputSpec("comment_sentiment", torch.float32, BT, "-1 to 1; NaN: no comment"),
    ]
    if not config.positions:
        specs = [spec for spec in specs if spec.name != "started_at"]
    if size := len(config.contexts):
        meaning = "1 + position in `contexts`; 0: unknown"
        specs.append(InputSpec("contexts", torch.int64, (*BT, size), meaning))
    if size := len(config.user_categorical_features):
        meaning = "1 + position in `profile_categories`; 0: unknown"
        specs.append(InputSpec("profile_categories", torch.int64, ("B", size), meaning))
    if size := len(config.user_numerical_features):
        specs.append(InputSpec("profile_numbers", torch.float32, ("B", size), "NaN: unknown"))
    return specs


class UserSide(nn.Module):
    """Computes the user vectors from the inputs of `input_specs`.

    Args:
        model: A model whose scores are inner products. It is set to evaluation mode.
        items: All videos that sequences may name.

    Raises:
        ValueError: α depends on user and video, so the scores are no inner products. Or the encoder is an
            LSTM, which torch.export unrolls to one length.
    """

    def __init__(self, model: InterestModel, items: ItemEmbeddings) -> None:
        super().__init__()
        preference = model.modality_preference
        if model.config.normalisation != "fixed":
            raise ValueError("train.model.normalisation is adaptive; only fixed can be exported")
        if model.truncation is not None:
            raise ValueError("train.model.token_budget is above 0; only models without it can be exported")
        if model.config.fusion not in EXPORTED_FUSIONS:
            raise ValueError(
                f"train.model.fusion is {model.config.fusion}; only {', '.join(EXPORTED_FUSIONS)} can be"
                " exported, whose scores are inner products"
            )
        if model.config.encoder == "lstm":
            raise ValueError(
                "train.model.encoder is lstm, which torch exports for one length of sequences only; "
                "any other encoder can be exported"
            )
        self.model, self.items = model.eval(), items
        self.patterns = [] if preference is None else items.has_VM.unique(dim=0).tolist()
        self.names = [spec.name for spec in input_specs(model.config)]
        numbers = model.config.user_numerical_features.values()
        self.mean_Q = torch.tensor([mean for mean, _ in numbers])
        self.std_Q = torch.tensor([std for _, std in numbers])

    def forward(self, *inputs: Tensor) -> Tensor:
        """Return q_BF, whose inner products with the video vectors are the scores of the sequence model."""
        tensors = dict(zip(self.names, inputs, strict=True))
        state = self.model.encode_user(self._batch(tensors), self._profiles(tensors), self.items)
        return user_vectors(state.z_ND, state.u_NW, self.patterns)

    def _batch(self, tensors: dict[str, Tensor]) -> SequenceBatch:
        """Return the sequences. The day of an event is not read by any exported part."""
        video_BT, behaviour_BTA = tensors["video"], tensors["behaviours"]
        mask_BT, zero_BT = video_BT >= 0, torch.zeros_like(video_BT)
        watch_ratio_BT, sentiment_BT = tensors["watch_ratio"], tensors["comment_sentiment"]
        started_at_BT = tensors.get("started_at", zero_BT)
        return SequenceBatch(
            users_B=zero_BT[:, 0],
            mask_BT=mask_BT,
            video_BT=video_BT.clamp(min=0),
            watch_ratio_BT=watch_ratio_BT.nan_to_num(0.0).clamp(0.0, 2.0),
            watch_ratio_known_BT=~watch_ratio_BT.isnan(),
            behaviour_BTA=behaviour_BTA,
            sentiment_BT=sentiment_BT.nan_to_num(0.0),
            sentiment_known_BT=~sentiment_BT.isnan(),
            day_BT=zero_BT,
            time_gap_BT=time_gap_buckets(started_at_BT),
            hour_BT=tensors["hour"],
            positive_BT=self.is_positive(watch_ratio_BT, behaviour_BTA),
            context_BTJ=tensors.get("contexts", zero_BT.unsqueeze(2)[:, :, :0]),
            request_BTJ=zero_BT.unsqueeze(2)[:, :, :0],  # only the ranking heads read it
        )

    def _profiles(self, tensors: dict[str, Tensor]) -> UserProfiles:
        none_B0 = tensors["video"][:, :0]
        number_BQ = tensors.get("profile_numbers", none_B0.float())
        return UserProfiles(
            tensors.get("profile_categories", none_B0), (number_BQ - self.mean_Q) / self.std_Q
        )

    def is_positive(self, watch_ratio_BT: Tensor, behaviour_BTA: Tensor) -> Tensor:
        """Return what `models.data.labels.is_positive` does, on tensors."""
        config = self.model.config
        did = dict(zip(config.behaviours, behaviour_BTA.unbind(2), strict=True))
        positive_BT = did["viewed"] & ~(watch_ratio_BT < config.positive_watch_ratio)
        for name in POSITIVE_BEHAVIOURS:
            positive_BT = positive_BT | did[name]
        return positive_BT & ~did["disliked"]
