"""Baselines: models of video IDs or of content that the main model must beat, in the same harness.

They learn from positives and not from all interactions. That was measured to be far stronger, and a weak
baseline would flatter the main model.
"""

from models.baselines.baseline import Baseline
from models.baselines.bert4rec import BERT4Rec
from models.baselines.bm3 import BM3
from models.baselines.comirec import ComiRec
from models.baselines.content import ContentBaseline
from models.baselines.din import DIN
from models.baselines.esasrec import ESASRec
from models.baselines.lightgcn import LightGCN
from models.baselines.m3csr import M3CSR
from models.baselines.memory_based import ItemCF, ItemKNN, Popularity
from models.baselines.mf_bpr import MFBPR
from models.baselines.mmgcn import MMGCN
from models.baselines.sasrec import SASRec
from models.sources.counting import popularity, trending

BASELINES: dict[str, type[Baseline]] = {
    "popularity": Popularity,
    "itemcf": ItemKNN,
    "mf_bpr": MFBPR,
    "lightgcn": LightGCN,
    "sasrec": SASRec,
    "esasrec": ESASRec,
    "bert4rec": BERT4Rec,
    "comirec": ComiRec,
    "din": DIN,
    "m3csr": M3CSR,
    "mmgcn": MMGCN,
    "bm3": BM3,
}

__all__ = ["BASELINES", "Baseline", "ContentBaseline", "ItemCF", "popularity", "trending"]
