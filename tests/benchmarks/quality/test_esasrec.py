"""SASRec and eSASRec beside RecTools': samples, settings, and the ranks that a peer returns."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks.quality import esasrec
from benchmarks.quality.rectools_sasrec import Comparison, SequentialSettings
from core.errors import InputError
from datasets.leave_last_out import split_leave_last_out
from tests.support.releases import write_beauty

SETTINGS = SequentialSettings("esasrec", 16, 1, 2, 0.0, 10, 8, 0.01, 8, 15, 15, 1)
CYCLES = [[(user + i) % 10 for i in range(7)] for user in range(40)]
PEER = """
import json, sys
from pathlib import Path
import numpy as np
from benchmarks.quality.rectools_sasrec import UNRANKED, Comparison
folder = Path(sys.argv[-1])
data = Comparison.load(folder)
assert data.settings.name in ("sasrec", "esasrec")
# Rank the target first if it follows the validation item in the cycle, as it does in this data.
np.save(folder / "ranks.npy", np.where(data.test_U == (data.valid_U + 1) % 10, 1, UNRANKED))
(folder / "curve.json").write_text(json.dumps([{"epoch": 1, "ndcg@10": 0.5}]))
"""


def test_ours_learn_and_a_peer_is_evaluated_on_the_same_users(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(esasrec, "python_command", lambda name: [sys.executable, "-c", PEER])
    figures, ratios = esasrec.compare(split_leave_last_out(CYCLES), SETTINGS, ["sasrec", "esasrec"], True)
    for name in ("sasrec", "esasrec"):
        assert figures[name]["ndcg@10"] > 0.9
        assert figures[f"rectools_{name}"]["ndcg@10"] == 1.0
        assert figures[f"{name}_minus_rectools"]["ndcg@10"]["num_users"] == 40
        assert ratios[f"{name}_over_rectools_recall@10"] == figures[name]["recall@10"]
    assert figures["settings"]["num_negatives"] == 8


def test_the_number_of_negatives_reaches_our_model() -> None:
    """One negative in a step of one epoch trains other weights than all videos."""
    dataset = split_leave_last_out(CYCLES)
    short = esasrec.replace(SETTINGS, epochs=2, learning_rate=0.001)
    curves = [
        esasrec.run_ours(dataset, esasrec.replace(short, num_negatives=number)).curve for number in (0, 1)
    ]
    assert curves[0][-1]["total"] != curves[1][-1]["total"]


def test_the_data_of_a_peer_survives_its_file(tmp_path: Path) -> None:
    comparison = Comparison(np.array([0, 2]), np.array([3, 4]), np.array([5]), np.array([6]), SETTINGS)
    comparison.save(tmp_path)
    loaded = Comparison.load(tmp_path)
    assert loaded.settings == SETTINGS
    assert loaded.train_items.tolist() == [3, 4]
    assert (loaded.valid_U.tolist(), loaded.test_U.tolist()) == ([5], [6])


def test_a_sample_has_whole_sequences() -> None:
    sample = esasrec.sample_users(CYCLES, 7, seed=1)
    assert len(sample) == 7
    assert all(sequence in CYCLES for sequence in sample)
    assert sample == esasrec.sample_users(CYCLES, 7, seed=1) != esasrec.sample_users(CYCLES, 7, seed=2)
    with pytest.raises(InputError, match="--users is 41; write a number from 1 to 40"):
        esasrec.sample_users(CYCLES, 41, seed=1)


def test_the_command_prints_one_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = [f"{u} " + " ".join(str(1 + item) for item in CYCLES[u - 1]) for u in range(1, 41)]
    write_beauty(tmp_path, *lines)
    options = ["--models", "esasrec", "--epochs", "2", "--users", "30", "--num-negatives", "4"]
    monkeypatch.setattr(sys, "argv", ["esasrec", "--set", "beauty", "--path", str(tmp_path), *options])
    assert esasrec.main() == 0
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert result["name"] == "esasrec-beauty-30-users"
    assert result["figures"]["users"] == 30
    assert result["figures"]["settings"]["num_negatives"] == 4
    assert result["ratios"] == {}  # a sample is not comparable with published figures
    monkeypatch.setattr(sys, "argv", ["esasrec", "--set", "beauty", "--path", str(tmp_path / "absent")])
    assert esasrec.main() == 2
    assert "Beauty.txt does not exist" in capsys.readouterr().err
