"""`dvc exp` with the real dvc.yaml, on a planted snapshot whose night was promoted and recorded."""

import json

import pytest

from tests.support.checkout import Checkout, check_out_project
from tests.support.snapshots import LAKE_HALF, plant, write_lake_half_manifests

NIGHT = "2026-03-12"
SMALL = {
    "night": NIGHT,
    "align.epochs": 2,
    "align.width": 32,
    "train.epochs": 2,
    "evaluate.bootstrap_samples": 100,
    "gate.min_gain": -1.0,  # two epochs beat no baseline, and tell no modality from another
    "gate.min_modality_entropy_gap": 0.0,
}
# DVC shows no undefined metric, such as the gain over a champion that does not exist.
HEADLINES = {
    "ndcg@10",
    "recall@10",
    "mrr@10",
    "coverage@10",
    "auc",
    "calibration_error",
    "ndcg@10_cold_users",
    "ndcg@10_new_videos",
    "gain_over_best_baseline",
    "modality_entropy",
}


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """The project with a planted lake half. Its model half ran, and a user promoted and recorded it."""
    checkout = check_out_project(tmp_path_factory.mktemp("checkout"))
    checkout.set(SMALL)
    _plant_lake_half(checkout)
    checkout("dvc", "repro")
    checkout("python", "-m", "tasks.promote", "--night", NIGHT, "--workspace", "night")
    checkout("python", "-m", "tasks.record", "--night", NIGHT, "--workspace", "night")
    checkout("git", "add", "--all")
    checkout("git", "commit", "--quiet", "--message", "night")
    return checkout


def _plant_lake_half(checkout: Checkout) -> None:
    """Write what the lake half hands over, and let DVC take its stages for run."""
    write_lake_half_manifests(plant(checkout.folder / "night", users=80, videos=60))
    landing = checkout.folder / "var" / "landing"
    landing.mkdir(parents=True)
    (landing / "planted.jsonl").write_text("")
    checkout("dvc", "commit", "--force", *LAKE_HALF)


@pytest.mark.timeout(900)
def test_an_experiment_in_a_folder_of_its_own_leaves_the_workspace_as_it_is(checkout: Checkout) -> None:
    """It comes first, because it needs a workspace without experiments."""
    night = ("params.yaml", "night/gate/verdict.json", "night/run_manifests/gate.json")
    before = [(checkout.folder / name).read_bytes() for name in night], checkout.production()
    copied = ("--copy-paths", "var/landing", "--copy-paths", "night")
    run = ("dvc", "exp", "run", "--temp", "--name", "strict", "-S", "gate.min_users=6", *copied)
    output = checkout("env", f"UNDERCURRENT_HOME={checkout.folder / 'var'}", *run).stdout
    assert "Stage 'train' didn't change, skipping" in output
    assert ([(checkout.folder / name).read_bytes() for name in night], checkout.production()) == before
    assert "Removed experiments: 'strict'" in checkout("dvc", "exp", "remove", "strict").stdout


@pytest.fixture(scope="module")
def experiment(checkout: Checkout) -> dict[str, str]:
    """What production reads, before and after an experiment that trained another model."""
    before, digests = checkout.production(), checkout.run_manifest("train")["digests"]
    checkout("dvc", "exp", "run", "--name", "slow", "-S", "train.learning_rate=0.001")
    assert checkout.run_manifest("train")["digests"] != digests
    return {"before": before, "after": checkout.production()}


@pytest.mark.timeout(900)
def test_an_experiment_leaves_versions_aliases_and_tags_as_they_are(
    checkout: Checkout, experiment: dict[str, str]
) -> None:
    assert "('champion', '1')" in experiment["before"]
    assert f"refs/tags/night/{NIGHT}" in experiment["before"]
    assert experiment["after"] == experiment["before"]
    assert checkout.run_manifest("train")["params"]["learning_rate"] == 0.001
    assert checkout.run_manifest("promote")["facts"]["outcome"].startswith("left alone: run by DVC")


@pytest.mark.usefixtures("experiment")
def test_an_experiment_changes_one_line_of_the_parameters(checkout: Checkout) -> None:
    changed = checkout("git", "diff", "--unified=0", "params.yaml").stdout.splitlines()[4:]
    assert changed[1:] == ["-  learning_rate: 0.003", "+  learning_rate: 0.001"]


@pytest.mark.usefixtures("experiment")
def test_the_table_of_experiments_has_the_headline_metrics(checkout: Checkout) -> None:
    shown = json.loads(checkout("dvc", "exp", "show", "--json").stdout)
    (slow,) = (e for row in shown for group in row["experiments"] or () for e in group["revs"])
    for data in (slow["data"], shown[-1]["data"]):
        (metrics,) = data["metrics"].values()
        assert set(metrics["data"]) == HEADLINES
        assert metrics["data"]["ndcg@10"] > 0


@pytest.mark.usefixtures("experiment")
def test_differences_of_an_experiment_are_a_few_named_numbers(checkout: Checkout) -> None:
    params = json.loads(checkout("dvc", "params", "diff", "--json").stdout)
    assert {path: list(changes) for path, changes in params.items()} == {
        "params.yaml": ["train.learning_rate"]
    }
    metrics = json.loads(checkout("dvc", "metrics", "diff", "--json").stdout)
    assert set(metrics) == {"night/evaluate/metrics.json"}
    assert "auc" in set(metrics["night/evaluate/metrics.json"]) <= HEADLINES


@pytest.mark.usefixtures("experiment")
def test_every_plot_is_drawn_for_both_revisions(checkout: Checkout) -> None:
    plots = json.loads(checkout("dvc", "plots", "diff", "HEAD", "--json").stdout)
    assert "errors" not in plots
    assert {title: drawn[0]["revisions"] for title, drawn in plots["data"].items()} == {
        title: ["workspace", "HEAD"]
        for title in ("training curve", "slices", "calibration", "modality weights")
    }


@pytest.mark.usefixtures("experiment")
def test_an_experiment_promoted_by_hand_does_not_replace_an_uncompared_champion(checkout: Checkout) -> None:
    checkout("python", "-m", "tasks.promote", "--night", NIGHT, "--workspace", "night")
    facts = checkout.run_manifest("promote")["facts"]
    assert "compared with no champion, but the champion is now 1" in facts["outcome"]
    assert (facts["version"], facts["champion"]) == ("2", "1")
