from pathlib import Path

from benchmarks.quality.one_recipe import run_steps, summarise
from datasets.leave_last_out import split_leave_last_out

# Each user follows the cycle 0, 1, …, 39. So the last video tells the next one.
CYCLES = [[(user + i) % 40 for i in range(7)] for user in range(120)]


def test_the_steps_train_on_a_published_split_and_beat_popularity(tmp_path: Path) -> None:
    params = tmp_path / "params.yaml"
    overlay = "{}\nalign: {{width: 16}}\ntrain: {{epochs: 12, patience: 12}}\n"
    params.write_text(overlay.format(f"base: {Path(__file__).parents[3] / 'params.yaml'}"))
    figures, ratios = summarise(run_steps(split_leave_last_out(CYCLES), tmp_path, params))
    assert figures["users"] == 120
    assert figures["challenger"]["ndcg@10"] > figures["popularity"]["ndcg@10"] + 0.2
    assert ratios["challenger_over_popularity"] > 2
