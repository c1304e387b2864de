"""RecBole's SASRec (cross-entropy, data augmentation as it comes): one sample a target, 256 of them a batch.

RecBole 1.2.1 is older than numpy 2 and uses names that went away.
"""

import numpy as np

for name, now in {
    "bool8": np.bool_,
    "float_": np.float64,
    "complex_": np.complex128,
    "unicode_": np.str_,
}.items():
    if not hasattr(np, name):
        setattr(np, name, now)

import torch  # noqa: E402
from recbole.config import Config  # noqa: E402
from recbole.data import create_dataset, data_preparation  # noqa: E402
from recbole.data.interaction import Interaction  # noqa: E402
from recbole.model.sequential_recommender import SASRec  # noqa: E402
from recbole.trainer import Trainer  # noqa: E402
from recbole.utils import init_seed  # noqa: E402

from benchmarks.sasrec.contender import (  # noqa: E402
    BATCH,
    DROPOUT,
    HEADS,
    LAYERS,
    LENGTH,
    WIDTH,
    Clock,
    Data,
    Options,
    main,
)


class RecBole:
    def __init__(self, data: Data, options: Options) -> None:
        if options.sampled:
            raise ValueError("RecBole's SASRec has no sampled softmax")
        self.data = data
        folder = options.folder / "bole"
        folder.mkdir(exist_ok=True)
        with (folder / "bole.inter").open("w") as file:
            file.write("user_id:token\titem_id:token\ttimestamp:float\n")
            for user in range(data.users):
                for moment, item in enumerate([*data.history(user), data.next_U[user]]):  # the last: held out
                    file.write(f"u{user}\ti{item}\t{moment}\n")
        settings = {
            "data_path": str(options.folder),
            "load_col": {"inter": ["user_id", "item_id", "timestamp"]},
            "MAX_ITEM_LIST_LENGTH": LENGTH,
            "train_batch_size": BATCH,
            "learning_rate": options.rate,
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

    def fit(self, epochs: int, clock: Clock) -> None:
        for epoch in range(epochs):
            clock.start()
            self.trainer._train_epoch(self.train, epoch)
            if not clock.stop():
                break

    @torch.inference_mode()
    def scores(self, users: np.ndarray) -> np.ndarray:
        """RecBole numbers the items that it met from 1 on; those it never met score −1e6."""
        self.model.eval()
        names = self.dataset.field2token_id["item_id"]
        theirs = np.array([names.get(f"i{item}", 0) for item in range(self.data.catalogue)])
        histories = [theirs[self.data.history(user)[-LENGTH:]] for user in users]
        padded = np.zeros((len(users), LENGTH), np.int64)
        for row, history in enumerate(histories):
            padded[row, : len(history)] = history
        batch = Interaction(
            {
                "item_id_list": torch.from_numpy(padded),
                "item_length": torch.tensor([len(history) for history in histories]),
            }
        )
        scores = self.model.full_sort_predict(batch).numpy()
        return np.where(theirs > 0, scores[:, theirs], -1e6)


if __name__ == "__main__":
    main(RecBole)
