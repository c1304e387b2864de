"""Item embeddings as one vector for each video: which videos are near, and the map of the catalogue."""

import math
from dataclasses import dataclass

import pyarrow as pa
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from models.baselines import Baseline, ContentBaseline
from models.baselines.bert4rec import BERT4Rec
from models.baselines.comirec import ComiRec
from models.baselines.mf_bpr import MFBPR
from models.baselines.sasrec import SASRec
from models.data.user_state import UserState
from models.evaluation.scoring import Scorer
from models.interest_model import InterestModel
from models.retrieval.full_ranking import users_per_chunk
from models.retrieval.item_scores import even_weight_item_vectors
from snapshots.reader import SnapshotReader

MAX_MAPPED = 1000  # videos of the map
# Baselines whose user embeddings score the rows of `item_embedding`. Content baselines have longer vectors.
EMBEDDING_BASELINES = (BERT4Rec, ComiRec, MFBPR, SASRec)
NUM_NEIGHBOURS = 10  # nearest videos whose category is compared


@dataclass(frozen=True)
class ItemVectors:
    """The item embeddings of the videos that can be recommended, minus their mean, with length 1.

    Attributes:
        row_C: Rows of these videos in the catalogue.
        vector_CD: Their vectors.
    """

    row_C: Tensor
    vector_CD: Tensor

    @classmethod
    @torch.no_grad()
    def of_model(cls, scorer: Scorer) -> "ItemVectors | None":
        """Return the vectors of a scorer's videos. None if the model has no item embeddings."""
        x_VD = _item_embeddings(scorer)
        if x_VD is None:
            return None
        known_V = scorer.available & (
            (scorer.item_table.id_row_V >= 0) | isinstance(scorer.model, InterestModel)
        )
        row_C = known_V.nonzero().squeeze(1)
        return cls(row_C, F.normalize(x_VD[row_C] - x_VD[row_C].mean(0), dim=1)) if len(row_C) else None

    def nearest(self, user_BXD: Tensor, k: int) -> Tensor:
        """Return the rows of the k videos with the largest cosine to any of a user's X vectors, [B, K]."""
        chunks = F.normalize(user_BXD, dim=2).split(users_per_chunk(user_BXD.shape[1] * len(self.row_C)))
        cosines = ((unit_bXD @ self.vector_CD.T).amax(1) for unit_bXD in chunks)
        position_BK = [cosine_bC.topk(min(k, len(self.row_C)), dim=1).indices for cosine_bC in cosines]
        return self.row_C[torch.cat(position_BK)]


def user_vectors(model: InterestModel | Baseline, state: UserState) -> Tensor:
    """Return each user's X vectors in the space of the item embeddings, [B, X, D]: one, or the trends."""
    return model.trends(state) if isinstance(model, ComiRec) else state.z_ND[:, None]


def _item_embeddings(scorer: Scorer) -> Tensor | None:
    """Return x_VD of all videos. Rows of videos that a baseline does not know are arbitrary."""
    model = scorer.model.eval()
    if isinstance(model, InterestModel):
        return even_weight_item_vectors(model.encode_items(scorer.item_table))[:, :-1]
    if isinstance(model, EMBEDDING_BASELINES) and not isinstance(model, ContentBaseline):
        return model.item_embedding.weight[scorer.item_table.id_row_V]
    return None


def map_items(vectors: ItemVectors | None, snapshot: SnapshotReader) -> tuple[dict, pa.Table]:
    """Project a sample of the item embeddings on their first two principal components.

    Args:
        vectors: Of the challenger. None: it has no item embeddings. Vectors of width 1 have no map.
        snapshot: Of the night.

    Returns:
        The summary: `num_videos` on the map, `explained_variance`, the share of the variance that the two
        components have, and `same_category`, the mean share of the `NUM_NEIGHBOURS` nearest videos with the
        category of a video, with `same_category_by_chance`, the share of a random video. A share is None if
        it is undefined.
        The table: `video_row`, `category`, `x` and `y`.
    """
    if vectors is None or len(vectors.row_C) <= NUM_NEIGHBOURS or vectors.vector_CD.shape[1] < 2:
        return _empty_map()
    step = math.ceil(len(vectors.row_C) / MAX_MAPPED)
    row_C, vector_CD = vectors.row_C[::step], vectors.vector_CD[::step]
    category_C = snapshot.videos["category"].take(pa.array(row_C.numpy())).combine_chunks()
    x_C2, explained = principal_components(vector_CD)
    table = pa.table(
        {
            "video_row": row_C.int().numpy(),
            "category": category_C,
            "x": x_C2[:, 0].numpy(),
            "y": x_C2[:, 1].numpy(),
        }
    )
    summary = {"num_videos": len(table), "explained_variance": explained}
    return summary | _category_agreement(vector_CD, category_C), table


def _empty_map() -> tuple[dict, pa.Table]:
    types = {"video_row": pa.int32(), "category": pa.string(), "x": pa.float32(), "y": pa.float32()}
    undefined = dict.fromkeys(("explained_variance", "same_category", "same_category_by_chance"))
    return {"num_videos": 0, **undefined}, pa.schema(types.items()).empty_table()


def principal_components(vector_CD: Tensor) -> tuple[Tensor, float]:
    """Return the first two principal components [C, 2], and their share of the variance.

    The sign of a component is arbitrary. Here its largest coordinate is positive.
    """
    centred_CD = (vector_CD - vector_CD.mean(0)).double()
    _, size_X, axis_XD = torch.linalg.svd(centred_CD, full_matrices=False)
    axis_2D = axis_XD[:2] * axis_XD[:2].gather(1, axis_XD[:2].abs().argmax(1, keepdim=True)).sign()
    return (centred_CD @ axis_2D.T).float(), float(
        size_X[:2].square().sum() / size_X.square().sum().clamp(min=1e-12)
    )


def _category_agreement(vector_CD: Tensor, category_C: pa.Array) -> dict[str, float | None]:
    """Return how often near videos share a category, over the videos with a known category."""
    known_C = torch.from_numpy(category_C.is_valid().to_numpy(zero_copy_only=False))
    code_C = torch.tensor(category_C.dictionary_encode().indices.fill_null(-1).to_pylist())[known_C]
    if len(code_C) <= NUM_NEIGHBOURS:
        return {"same_category": None, "same_category_by_chance": None}
    cosine_CC = vector_CD[known_C] @ vector_CD[known_C].T
    cosine_CC.fill_diagonal_(-torch.inf)
    nearest_CK = cosine_CC.topk(NUM_NEIGHBOURS, dim=1).indices
    same_CC = code_C[:, None] == code_C
    chance = (same_CC.sum() - len(code_C)) / (len(code_C) * (len(code_C) - 1))
    same = (code_C[nearest_CK] == code_C[:, None]).float().mean()
    return {"same_category": float(same), "same_category_by_chance": float(chance)}
