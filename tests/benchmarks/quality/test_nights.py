import pyarrow as pa
import pytest

from benchmarks.quality import nights
from core.baselines import BASELINE_LABELS


def test_the_model_is_compared_with_every_counted_baseline():
    per_user = pa.table(
        {"ndcg_challenger": [0.5, 0.7], **{f"ndcg_{name}": [0.4, 0.2] for name in BASELINE_LABELS}}
    )

    figures, ratios = nights.summarise(per_user)

    assert figures["user_nights"] == 2
    assert figures["ndcg@10_challenger"] == 0.6
    for name in BASELINE_LABELS:
        assert figures[f"challenger_minus_{name}"]["mean"] == 0.3
        assert ratios[f"challenger_over_{name}"] == 2.0


def test_a_first_night_and_single_nights_exclude_each_other(monkeypatch, capsys):
    arguments = ["--source", "movielens", "--path", "x", "--first", "1998-01-04", "--dates", "1998-01-05"]
    monkeypatch.setattr("sys.argv", ["nights", *arguments])

    with pytest.raises(SystemExit):
        nights.main()

    assert "not allowed with argument --first" in capsys.readouterr().err
