"""What every model has to beat, in the same harness, from the IDs of what people liked and nothing else.

Counting what people liked and not all they were shown: that was measured to be far stronger, and a weak
baseline flatters the model.
"""

from models.baselines.baseline import Baseline
from models.baselines.bert4rec import BERT4Rec
from models.baselines.counting import ItemCF, Neighbours, Popularity, popularity, trending
from models.baselines.din import DIN
from models.baselines.lightgcn import LightGCN
from models.baselines.mf_bpr import MFBPR
from models.baselines.sasrec import SASRec

BASELINES: dict[str, type[Baseline]] = {
    "popularity": Popularity,
    "itemcf": Neighbours,
    "mf_bpr": MFBPR,
    "lightgcn": LightGCN,
    "sasrec": SASRec,
    "bert4rec": BERT4Rec,
    "din": DIN,
}

__all__ = ["BASELINES", "Baseline", "ItemCF", "popularity", "trending"]
