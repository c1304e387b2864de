import pickle

import pyarrow.parquet as pq
import pytest

from core.errors import InputError
from core.tables import EVENTS, FEATURES, REJECTS
from lake.landing import LandingLimits
from lake.landing_digests import LandingFile
from lake.landing_parts import FilePart
from lake.landing_staging import StagingTask, ledger_entries, stage_files
from tests.support.landing_files import DAY, at, event, land


def _task(tmp_path, *paths, type_name="events"):
    files = [LandingFile(type_name, DAY, path, path.name, 1, "1", f"digest of {path.name}") for path in paths]
    parts = [FilePart(file) for file in files]
    limits = LandingLimits(1000, 10_000)
    return StagingTask(type_name, DAY, parts, tmp_path / "rows", tmp_path / "rejects", limits, batch_rows=2)


def test_the_files_of_a_task_share_an_output_file(tmp_path):
    first = land(
        tmp_path, "events", DAY, [event(n, "u", "v", "view", at(DAY, 9)) for n in range(3)], "a.jsonl"
    )
    second = land(tmp_path, "events", DAY, ["{broken\n", event(9, "u", "v", "view", at(DAY, 9))], "b.jsonl")
    staged = stage_files(pickle.loads(pickle.dumps(_task(tmp_path, first, second))))
    entries = ledger_entries(staged.parts)
    assert [(entry["path"], entry["kept"], entry["rejected"]) for entry in entries] == [
        ("a.jsonl", 3, 0),
        ("b.jsonl", 1, 1),
    ]
    (rows,), (rejects,) = map(pq.read_table, staged.row_paths), map(pq.read_table, staged.reject_paths)
    assert (rows.schema, rejects.schema) == (EVENTS.schema, REJECTS.schema)
    lines = zip(rows["source_file"].to_pylist(), rows["source_line"].to_pylist(), strict=True)
    assert list(lines) == [("a.jsonl", 1), ("a.jsonl", 2), ("a.jsonl", 3), ("b.jsonl", 2)]
    assert set(rows["day"].to_pylist()) == {DAY}
    assert dict(staged.reasons) == {"malformed_json": 1}
    (reject,) = rejects.to_pylist()
    assert (reject["source_file"], reject["source_line"]) == ("b.jsonl", 1)
    assert reject["record"].endswith("\n{broken")


def test_a_file_is_written_only_if_it_has_rows(tmp_path):
    staged = stage_files(_task(tmp_path, land(tmp_path, "events", DAY, ["\n"])))
    assert (staged.row_paths, staged.reject_paths) == ([], [])
    assert not (tmp_path / "rows").exists()


def test_features_have_their_delivery_as_source(tmp_path):
    path = land(tmp_path, "features", DAY, [{"video_id": "v", "modality": "text", "vector": [1.0]}])
    (rows,) = map(pq.read_table, stage_files(_task(tmp_path, path, type_name="features")).row_paths)
    assert rows.schema == FEATURES.schema
    assert rows["source"].to_pylist() == ["part-0.jsonl 000000000001"]


def test_an_unreadable_file_is_named(tmp_path):
    path = tmp_path / "f.jsonl.gz"
    path.write_bytes(b"not gzip")
    with pytest.raises(InputError, match=r"f\.jsonl\.gz cannot be read"):
        stage_files(_task(tmp_path, path))
