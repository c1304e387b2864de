"""RecBole's SASRec with cross-entropy and its default data augmentation.

Each target is one sample, and a batch holds 256 samples. RecBole 1.2.1 is older than NumPy 2 and uses names
that NumPy has removed.
"""

import numpy as np

for name, replacement in {
    "bool8": np.bool_,
    "float_": np.float64,
    "complex_": np.complex128,
    "unicode_": np.str_,
}.items():
    if not hasattr(np, name):
        setattr(np, name, replacement)

import torch  # noqa: E402
from recbole.config import Config  # noqa: E402
from recbole.data import create_dataset, data_preparation  # noqa: E402
from recbole.data.interaction import Interaction  # noqa: E402
from recbole.model.sequential_recommender import SASRec  # noqa: E402
from recbole.trainer import Trainer  # noqa: E402
from recbole.utils import init_seed  # noqa: E402

from benchmarks.speed.sasrec.contender import (  # noqa: E402
    BATCH_SIZE,
    DROPOUT,
    HEADS,
    LAYERS,
    MAX_LENGTH,
    WIDTH,
    EpochTimer,
    Options,
    SequenceData,
    main,
)


class RecBole:
    """RecBole's model, data set and trainer."""

    def __init__(self, data: SequenceData, options: Options) -> None:
        if options.sampled:
            raise ValueError("RecBole's SASRec has no sampled softmax")
        self.data = data
        folder = options.folder / "bole"
        folder.mkdir(exist_ok=True)
        with (folder / "bole.inter").open("w") as file:
            file.write("user_id:token\titem_id:token\ttimestamp:float\n")
            for user in range(data.num_users):
                # The last item is held out.
                for moment, item in enumerate([*data.sequence(user), data.next_U[user]]):
                    file.write(f"u{user}\ti{item}\t{moment}\n")
        settings = {
            "data_path": str(options.folder),
            "load_col": {"inter": ["user_id", "item_id", "timestamp"]},
            "MAX_ITEM_LIST_LENGTH": MAX_LENGTH,
            "train_batch_size": BATCH_SIZE,
            "learning_rate": options.learning_rate,
            "n_layers": LAYERS,
            "n_heads": HEADS,
            "hidden_size": WIDTH,
            "inner_size": 4 * WIDTH,
            "hidden_dropout_prob": DROPOUT,
            "attn_dropout_prob": DROPOUT,
            "loss_type": "CE",
            "train_neg_sample_args": None,
            "eval_args": {"split": {"LS": "valid_only"}, "order": "TO", "mode": "full", "group_by": "user"},
            "use_gpu": False,
            "checkpoint_dir": str(options.folder),
            "show_progress": False,
        }
        config = Config(model="SASRec", dataset="bole", config_dict=settings)
        init_seed(options.seed, reproducibility=False)
        self.dataset = create_dataset(config)
        self.train, *_ = data_preparation(config, self.dataset)
        self.model = SASRec(config, self.train.dataset)
        self.trainer = Trainer(config, self.model)

    def fit(self, epochs: int, timer: EpochTimer) -> None:
        for epoch in range(epochs):
            timer.start()
            self.trainer._train_epoch(self.train, epoch)
            if not timer.stop():
                break

    @torch.inference_mode()
    def score_users(self, users: np.ndarray) -> np.ndarray:
        """Score all items. RecBole numbers the items that it has seen from 1 on; all others get −1e6."""
        self.model.eval()
        names = self.dataset.field2token_id["item_id"]
        recbole_ids = np.array([names.get(f"i{item}", 0) for item in range(self.data.num_items)])
        sequences = [recbole_ids[self.data.sequence(user)[-MAX_LENGTH:]] for user in users]
        padded = np.zeros((len(users), MAX_LENGTH), np.int64)
        for row, sequence in enumerate(sequences):
            padded[row, : len(sequence)] = sequence
        batch = Interaction(
            {
                "item_id_list": torch.from_numpy(padded),
                "item_length": torch.tensor([len(sequence) for sequence in sequences]),
            }
        )
        scores = self.model.full_sort_predict(batch).numpy()
        return np.where(recbole_ids > 0, scores[:, recbole_ids], -1e6)


if __name__ == "__main__":
    main(RecBole)
