"""The registered model: a person's history in, the videos to show out. MLflow stores this file as it is.

It travels with the package `models` and with four files: the bundle's two, and the catalogue's ids and
features as of its night. Nothing else of the project may be imported here.

Legend: B rows of the input, V videos, M modalities, E events of all rows, K recommended videos.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel, PythonModelContext
from safetensors.torch import load_file
from torch import Tensor

from models.bundle import load_bundle
from models.fusion import Catalogue
from models.histories import HOURS, Histories, Seen, positive
from models.interest import Spec
from models.profiles import Profiles
from models.ranks import top

DEFAULT_K = 10


class Recommender(PythonModel):
    """Loads the bundle once and answers for many people at a time."""

    def load_context(self, context: PythonModelContext) -> None:
        """Read the model and the catalogue, and put every video into the shared space."""
        self.model = load_bundle(Path(context.artifacts["model"]).parent)
        videos = pq.read_table(context.artifacts["catalogue"])
        self.video_ids = np.array(videos["video_id"].to_pylist())
        self.row_of = {video: row for row, video in enumerate(self.video_ids)}
        features = load_file(context.artifacts["features"])
        with torch.no_grad():
            self.items: Any = self.model.items(_catalogue(self.model.spec, videos, features))

    @torch.no_grad()
    def predict(
        self, context: PythonModelContext, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> pd.DataFrame:
        """The best `params["k"]` videos that each person has not seen, best first, with score and α.

        `model_input`: a row a person; `video_ids` (what was watched, oldest first; videos that the catalogue
        does not hold are left out) and, all optional, lists as long beside it: `started_at_ms` (epoch),
        `watch_ratios`, `behaviours` (bits, in the order of the bundle's `behaviours`), `comment_sentiments`
        (in [-1, 1], NaN: none), the model's contexts (`devices`, `networks`); `utc_offset_minutes` and the
        profile's columns.
        """
        k = int((params or {}).get("k", DEFAULT_K))
        histories = _histories([self._known(row) for row in model_input.to_dict("records")], self.model.spec)
        users_B = torch.arange(len(model_input))
        batch = histories.batch(users_B, self.model.spec.max_length)
        interest = self.model.newest(batch, _profiles(model_input, self.model.spec), self.items)
        score_BV, alpha_MBV = self.model.scores(interest, self.items)
        seen_BV = Seen(histories.offsets, histories.video_E).mask(users_B, score_BV.shape[1])
        score_BV = self.model.rerank(interest, self.items, score_BV.masked_fill(seen_BV, -torch.inf))
        best_BK = top(score_BV, k)
        score_BK = score_BV.gather(1, best_BK)
        new_B = (
            (score_BK > -torch.inf).sum(1).tolist()
        )  # the last places may hold what only seen videos could fill
        columns = {"video_ids": self.video_ids[best_BK.numpy()], "scores": score_BK.numpy()}
        for alpha_BV, name in zip(alpha_MBV, self.model.spec.modalities, strict=True):
            columns[f"alpha_{name}"] = alpha_BV.gather(1, best_BK).numpy()
        cut = {name: [v[:n].tolist() for v, n in zip(c, new_B, strict=True)] for name, c in columns.items()}
        return pd.DataFrame(cut)

    def _known(self, row: Mapping[Any, Any]) -> dict[str, list]:
        """One person's events as columns, of videos that the catalogue holds."""
        videos = _listed(row.get("video_ids"), 0, None)
        n = len(videos)
        events = {
            "row": [self.row_of.get(video) for video in videos],
            "second": [ms // 1000 for ms in _listed(row.get("started_at_ms"), n, 0)],
            "ratio": _listed(row.get("watch_ratios"), n, float("nan")),
            "did": _listed(row.get("behaviours"), n, 1),
            "sentiment": _listed(row.get("comment_sentiments"), n, float("nan")),
            **{name: _listed(row.get(f"{name}s"), n, None) for name in self.model.spec.contexts},
            "offset": [int(_or(row.get("utc_offset_minutes"), 0))] * n,
        }
        keep = [i for i, at in enumerate(events["row"]) if at is not None]
        return {name: [values[i] for i in keep] for name, values in events.items()}


def _catalogue(spec: Spec, videos: pa.Table, features: Mapping[str, Tensor]) -> Catalogue:
    """The catalogue as this model reads it; a modality that it has not is masked."""
    V, id_row = videos.num_rows, {video: row for row, video in enumerate(spec.video_ids)}
    masks = [features.get(f"{m}.mask", torch.zeros(V)).bool() for m in spec.modalities]
    return Catalogue(
        features={m: features.get(m, torch.zeros(V, size)) for m, size in spec.modalities.items()},
        has_VM=torch.stack(masks, 1) if masks else torch.zeros(V, 0, dtype=torch.bool),
        id_row_V=torch.tensor([id_row.get(video, -1) for video in videos["video_id"].to_pylist()]),
        number_VP=_standardised(videos.to_pandas(), spec.video_numbers),
    )


def _standardised(rows: pd.DataFrame, numbers: Mapping[str, tuple[float, float]]) -> Tensor:
    """Columns as numbers around 0 [N, P]; NaN: unknown, or no such column."""
    none = [None] * len(rows)
    known = {name: [float(_or(value, float("nan"))) for value in rows.get(name, none)] for name in numbers}
    columns = [(torch.tensor(known[name]) - mean) / scale for name, (mean, scale) in numbers.items()]
    return torch.stack(columns, 1) if columns else torch.zeros(len(rows), 0)


def _histories(people: Sequence[Mapping[str, list]], spec: Spec) -> Histories:
    columns = ("row", "second", "ratio", "did", "sentiment", *spec.contexts)
    flat = {name: [value for one in people for value in one[name]] for name in columns}
    offset_E = torch.tensor([value for one in people for value in one["offset"]], dtype=torch.long)
    second_E = torch.tensor(flat["second"], dtype=torch.long)
    bits_E1 = torch.tensor(flat["did"], dtype=torch.long)[:, None]
    did_EA = (bits_E1 >> torch.arange(len(spec.behaviours))) & 1 > 0
    ratio_E = torch.tensor(flat["ratio"], dtype=torch.float32)
    lengths = torch.tensor([len(one["row"]) for one in people], dtype=torch.long)
    contexts = [_codes(flat[name], values) for name, values in spec.contexts.items()]
    return Histories(
        offsets=torch.nn.functional.pad(lengths.cumsum(0), (1, 0)),
        video_E=torch.tensor(flat["row"], dtype=torch.long),
        second_E=second_E,
        hour_E=(second_E + 60 * offset_E) // 3600 % HOURS,
        ratio_E=ratio_E,
        did_EA=did_EA,
        sentiment_E=torch.tensor(flat["sentiment"], dtype=torch.float32),
        positive_E=positive(ratio_E, did_EA, spec.behaviours, spec.positive_watch_ratio),
        context_EC=torch.stack(contexts, 1) if contexts else None,
    )


def _profiles(rows: pd.DataFrame, spec: Spec) -> Profiles:
    """Static profiles in the model's vocabulary; a missing column or unknown value is unknown."""
    none = [None] * len(rows)
    codes = [_codes(rows.get(name, none), values) for name, values in spec.categories.items()]
    category_BC = torch.stack(codes, 1) if codes else torch.zeros(len(rows), 0, dtype=torch.long)
    return Profiles(category_BC, _standardised(rows, spec.numbers))


def _codes(column: Iterable[Any], values: Sequence[str]) -> Tensor:
    """1 + place of the value in the vocabulary; 0: unknown."""
    place: dict[Any, int] = {value: 1 + i for i, value in enumerate(values)}
    return torch.tensor([place.get(value, 0) for value in column], dtype=torch.long)


def _listed(value: Any, length: int, fill: Any) -> list:
    """A list cell; `fill` repeated where the cell is empty."""
    return [fill] * length if value is None or np.ndim(value) == 0 else list(value)


def _or(value: Any, fallback: Any) -> Any:
    return fallback if value is None or pd.isna(value) else value


set_model(Recommender())  # how MLflow finds the model in this file
