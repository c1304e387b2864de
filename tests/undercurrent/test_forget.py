"""`undercurrent forget` on a home with landing files, tables, a night and pages of two users."""

import hmac
import json
import os
import shutil
from datetime import timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from core import paths
from core.config import load_params
from core.errors import DONE, REFUSED_INPUT, InputError
from core.paths import PROJECT_ROOT, Night
from core.pseudonyms import KEY_VARIABLE, PseudonymKey
from core.run_manifests import RunManifest, write_manifest
from core.storage import arrow_source, list_files_below, storage_path
from core.tables import TABLES
from lake.audits import visible_lake, write_audit
from lake.client import Lake
from registry.record_repository import locked_repository
from tasks import clean, ingest
from tests.support.command_line import undercurrent
from tests.support.landing_files import DAY, at, event, land
from tests.support.pseudonyms import KEY, SECRET
from undercurrent import forget
from undercurrent.reproduce import reproduce

PARAMS = load_params(PROJECT_ROOT / "params.yaml")
LEAVER, STAYER = "leaver-77", "stayer-8"
YESTERDAY = DAY - timedelta(1)


def _land(landing: Path) -> None:
    land(landing, "videos", YESTERDAY, [{"video_id": "v1", "duration_ms": 9000}])
    profile = {"age_band": "18-24", "city_tier": "1", "device": "phone"}
    land(landing, "users", YESTERDAY, [{"user_id": user, **profile} for user in (LEAVER, STAYER)])
    for n, day in enumerate((YESTERDAY, DAY)):
        events = [
            event(10 * n + i, user, video, "view", at(day, 8, i), watch_ms=1000)
            for i, (user, video) in enumerate(
                [(LEAVER, "v1"), (STAYER, "v1"), (LEAVER, "gone"), (STAYER, "gone")]
            )
        ]
        land(landing, "events", day, [*events, f'{{"user_id": "{LEAVER}", "ev\n', '{"user_id": "x\n'])


@pytest.fixture
def night(home: Path, landing: Path) -> Night:
    """Ingested and checked, with rows of later steps, files of the model half and pages of both users."""
    _land(landing)
    night = Night(DAY, home / "nights" / str(DAY))
    ingest.run(PARAMS.ingest, night)
    for day in (YESTERDAY, DAY):
        write_audit(day, "passed")
    for user in (LEAVER, STAYER):
        record = json.dumps({"event_id": "e", "user_id": user})
        _write("interactions", {"user_id": user, "events": 1})
        _write("sequences", {"user_id": user, "video_ids": ["v1"]})
        _write("rejects", {"step": "clean", "reason": "unknown_video", "record": record})
    for folder, name in (("snapshot", "users_test"), ("evaluate", "recommendations")):
        pq.write_table(pa.table({"user_id": [LEAVER, STAYER]}), night.folder(folder) / f"{name}.parquet")
    for user in (LEAVER, STAYER):
        (night.folder("report") / f"{user[0]}.html").write_text(f"<b>{user}</b>")
    (night.folder("check") / "results.json").write_text(json.dumps({"examples": [LEAVER, STAYER]}))
    return night


def _write(table: str, row: dict) -> None:
    Lake().write(table, pa.Table.from_pylist([row | {"day": DAY}], TABLES[table].schema))


def _names(folder: Path, user: str) -> list[str]:
    """Return the files that hold a user's id: as text, or in any column of a Parquet file."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return [str(path) for path in files if user in _text(path)]


def _text(path: Path) -> str:
    if path.suffix == ".parquet":
        return str(pq.read_table(path, partitioning=None).to_pydict())
    return path.read_bytes().decode(errors="replace")


def _bounds() -> bytes:
    """Return the smallest and largest values in the metadata of the tables, deleted files included."""
    bounds = []
    for table in map(Lake().table, TABLES):
        snapshot = table.current_snapshot()
        for manifest in snapshot.manifests(table.io) if snapshot else ():
            for entry in manifest.fetch_manifest_entry(table.io, discard_deleted=False):
                for side in (entry.data_file.lower_bounds, entry.data_file.upper_bounds):
                    bounds += (side or {}).values()
    return b"\n".join(bounds)


def _rows() -> dict[str, list[str]]:
    """Return the rows of the tables without those of the leaver."""
    names = ("events", "users", "interactions", "sequences", "rejects")
    return {
        name: sorted(row for row in map(str, Lake().scan(name).to_pylist()) if LEAVER not in row)
        for name in names
    }


def test_no_file_of_the_home_names_the_user_and_others_stay(night, home):
    before, stayer_files = _rows(), len(_names(home / "nights", STAYER))
    assert _names(home, LEAVER)
    assert undercurrent("forget", "--user-id", LEAVER) == DONE
    assert _names(home, LEAVER) == []
    assert LEAVER.encode() not in _bounds()
    assert _rows() == before
    assert all(before.values())
    assert len(_names(home / "nights", STAYER)) == stayer_files


def test_the_certificate_has_counts_and_digests_and_a_keyed_hash(night, home, capsys):
    assert undercurrent("forget", "--user-id", LEAVER) == DONE
    (path,) = (home / "forgotten").glob("*.json")
    certificate = json.loads(path.read_text())
    assert [(entry["name"], entry["records"]) for entry in certificate["landing"]] == [
        (f"events/dt={YESTERDAY}/part-0.jsonl", 3),
        (f"events/dt={DAY}/part-0.jsonl", 3),
        (f"users/dt={YESTERDAY}/part-0.jsonl", 1),
    ] or sorted((entry["name"], entry["records"]) for entry in certificate["landing"])
    by_table = dict.fromkeys(("events", "users", "interactions", "sequences", "rejects"), 0)
    for entry in certificate["tables"]:
        by_table[entry["name"]] += entry["records"]
    assert by_table == {"events": 4, "users": 1, "interactions": 1, "sequences": 1, "rejects": 3}
    assert all(entry["digest_before"] != entry["digest_after"] for entry in certificate["tables"])
    assert certificate["complete"]
    key = (home / "forgotten" / "key").read_bytes()
    assert certificate["users"] == [hmac.new(key, LEAVER.encode(), "sha256").hexdigest()]
    assert LEAVER not in path.read_text()
    assert (home / "forgotten" / "key").stat().st_mode & 0o077 == 0
    assert f"certificate: {path}" in capsys.readouterr().out


def test_the_next_run_reads_no_file_again_and_hides_no_night(night, keep_spark):
    clean.run(PARAMS.clean, night)
    assert undercurrent("forget", "--user-id", LEAVER) == DONE
    before = _rows()
    again = ingest.run(PARAMS.ingest, night)
    assert (again.facts["new_files"], visible_lake(DAY + timedelta(1)).hidden_days) == (0, frozenset())
    assert again.facts["night"]["events"] == {"files": 1, "rows": 3, "kept": 2, "rejected": 1}
    clean.run(PARAMS.clean, night)
    assert _rows() == before


def test_a_forgotten_record_of_a_parquet_file_is_no_reject_when_its_day_is_read_again(home, landing):
    folder = landing / "events" / f"dt={DAY}"
    folder.mkdir(parents=True)
    users = [LEAVER, STAYER, LEAVER]
    pq.write_table(pa.table({"event_id": ["a", "b", "c"], "user_id": users}), folder / "a.parquet")
    night = Night(DAY, home / "nights" / str(DAY))
    ingest.run(PARAMS.ingest, night)
    assert undercurrent("forget", "--user-id", LEAVER) == DONE
    pq.write_table(pa.table({"event_id": ["d"], "user_id": [STAYER]}), folder / "b.parquet")
    ingest.run(PARAMS.ingest, night)
    rows = Lake().scan("events").sort_by("event_id")
    assert rows["event_id"].to_pylist() == ["b", "d"]
    assert rows["source_line"].to_pylist() == [2, 1]


def test_no_object_on_s3_names_the_user_and_others_stay(home, s3, monkeypatch):
    for name in ("LANDING", "WAREHOUSE"):
        monkeypatch.setenv(f"UNDERCURRENT_{name}", f"s3://bucket/{home.parent.name}/{name}")
    _land(paths.landing())
    night = Night(DAY, home / "nights" / str(DAY))
    ingest.run(PARAMS.ingest, night)
    before = _rows()
    assert undercurrent("forget", "--user-id", LEAVER) == DONE
    for path in list_files_below(storage_path(f"s3://bucket/{home.parent.name}")):
        text = str(pq.read_table(arrow_source(path))) if path.suffix == ".parquet" else str(path.read_bytes())
        assert LEAVER not in text, path
    assert _rows() == before
    assert ingest.run(PARAMS.ingest, night).facts["new_files"] == 0


def test_a_reject_that_was_cut_before_the_id_is_deleted(home, landing):
    land(landing, "events", DAY, [{"watch_ms": "wrong", "comment_text": "x" * 70_000, "user_id": LEAVER}])
    ingest.run(PARAMS.ingest, Night(DAY, home / "night"))
    assert Lake().scan("rejects").num_rows == 1
    assert undercurrent("forget", "--user-id", LEAVER) == DONE
    assert Lake().scan("rejects").num_rows == 0


def test_a_renamed_file_is_not_read_again(night, landing):
    path = landing / "events" / f"dt={DAY}" / "part-0.jsonl"
    path.rename(path.with_name("renamed.jsonl"))
    ingest.run(PARAMS.ingest, night)
    assert undercurrent("forget", "--user-id", LEAVER) == DONE
    assert ingest.run(PARAMS.ingest, night).facts["new_files"] == 0
    assert visible_lake(DAY + timedelta(1)).hidden_days == frozenset()


def test_a_night_that_was_hidden_before_stays_hidden(night):
    write_audit(YESTERDAY, "blocked")
    assert undercurrent("forget", "--user-id", LEAVER) == DONE
    assert visible_lake(DAY).hidden_days == {YESTERDAY}


def test_rows_of_an_archived_day_are_deleted_too(night, landing, home):
    shutil.rmtree(landing / "events" / f"dt={YESTERDAY}")
    assert undercurrent("forget", "--user-id", LEAVER) == DONE
    assert _names(home, LEAVER) == []
    assert ingest.run(PARAMS.ingest, night).facts["new_files"] == 0


@pytest.mark.parametrize("dies_in", ["forget_in_table", "update_ledger", "delete_recorded_files"])
def test_a_killed_deletion_continues_its_certificate(night, home, monkeypatch, dies_in):
    class Killed(BaseException):
        pass

    def killed(*_: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(forget, dies_in, killed)
        with pytest.raises(Killed):
            forget.forget([LEAVER], PARAMS)
    path = forget.forget([LEAVER], PARAMS)
    assert list((home / "forgotten").glob("*.json")) == [path]
    certificate = json.loads(path.read_text())
    assert sum(entry["records"] for entry in certificate["landing"]) == 7
    assert sum(entry["records"] for entry in certificate["tables"]) == 10
    assert _names(home, LEAVER) == []
    assert ingest.run(PARAMS.ingest, night).facts["new_files"] == 0
    assert visible_lake(DAY + timedelta(1)).hidden_days == frozenset()


def test_ids_can_come_from_a_file(night, home, tmp_path):
    (tmp_path / "ids").write_text(f"{LEAVER}\r\n\r\n{STAYER}\r\n", "utf-8-sig")
    assert undercurrent("forget", "--user-ids", str(tmp_path / "ids")) == DONE
    assert _names(home, LEAVER) == _names(home, STAYER) == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "no user is named"),
        (("--user-id", " "), "no user is named"),
        (("--user-ids", "gone"), "gone cannot be read"),
        (("--user-id", os.fsdecode(b"u\xff")), "is not UTF-8 text"),
    ],
)
def test_a_request_without_a_user_is_refused(arguments, words, capsys):
    assert undercurrent("forget", *arguments) == REFUSED_INPUT
    assert words in capsys.readouterr().err


def test_a_second_deletion_has_a_certificate_of_its_own(night, home):
    for user in (LEAVER, STAYER):
        assert undercurrent("forget", "--user-id", user) == DONE
    certificates = [json.loads(path.read_text()) for path in (home / "forgotten").glob("*.json")]
    assert len({certificate["users"][0] for certificate in certificates}) == 2


def test_a_night_that_lost_files_is_not_reproduced(home, monkeypatch, tmp_path):
    monkeypatch.setattr(forget, "delete_recorded_files", lambda *_: (["digest"], ["night/2026-03-12"]))
    assert undercurrent("forget", "--user-id", LEAVER) == DONE
    with pytest.raises(InputError, match=r"night/2026-03-12 cannot be reproduced: .*forgotten.*\.json"):
        reproduce("night/2026-03-12", tmp_path / "again")


OLD_KEY = PseudonymKey("fedcba9876543210" * 2)


@pytest.fixture
def private_night(night: Night) -> Night:
    """The night with pseudonyms in the files of the model half and on the pages."""
    names = [KEY.pseudonym(user) for user in (LEAVER, STAYER)]
    for folder, name in (("snapshot", "users_test"), ("evaluate", "recommendations")):
        pq.write_table(pa.table({"user_id": names}), night.folder(folder) / f"{name}.parquet")
    for page, name in zip(("l", "s"), names, strict=True):
        (night.folder("report") / f"{page}.html").write_text(f"<b>{name}</b>")
    _write_key(night, KEY)
    return night


def _write_key(night: Night, key: PseudonymKey) -> None:
    manifest = RunManifest(facts={"pseudonym_key": key.fingerprint})
    write_manifest(night.run_manifests, "snapshot", manifest, {})


def test_files_with_pseudonyms_lose_the_user_and_keep_others(private_night, home, monkeypatch):
    monkeypatch.setenv(KEY_VARIABLE, SECRET)
    assert len(_names(home, KEY.pseudonym(LEAVER))) == 3
    assert undercurrent("forget", "--user-id", LEAVER) == DONE
    assert _names(home, KEY.pseudonym(LEAVER)) == _names(home, LEAVER) == []
    assert len(_names(home, KEY.pseudonym(STAYER))) == 3


def test_nothing_is_deleted_without_the_key_of_some_pseudonyms(private_night, home, monkeypatch, capsys):
    before = _names(home, LEAVER)
    monkeypatch.setenv(KEY_VARIABLE, OLD_KEY.secret)
    assert undercurrent("forget", "--user-id", LEAVER) == REFUSED_INPUT
    assert f"{private_night.workspace} has pseudonyms of the key {KEY.fingerprint}" in capsys.readouterr().err
    assert _names(home, LEAVER) == before


def test_older_keys_are_searched_too(private_night, home, monkeypatch):
    earlier = Night(YESTERDAY, home / "nights" / str(YESTERDAY))
    pq.write_table(
        pa.table({"user_id": [OLD_KEY.pseudonym(LEAVER)]}), earlier.folder("snapshot") / "a.parquet"
    )
    _write_key(earlier, OLD_KEY)
    monkeypatch.setenv(KEY_VARIABLE, f"{SECRET},{OLD_KEY.secret}")
    assert undercurrent("forget", "--user-id", LEAVER) == DONE
    assert _names(home, KEY.pseudonym(LEAVER)) == _names(home, OLD_KEY.pseudonym(LEAVER)) == []


def test_keys_of_recorded_nights_are_needed_too(night, home, capsys):
    with locked_repository(paths.record(), PARAMS.record) as record:
        recorded = Night(DAY, record.folder / "night")
        _write_key(recorded, KEY)
        record.git("add", "--all")
        record.git("commit", "-m", "a night")
        record.git("tag", f"night/{DAY}")
    shutil.rmtree(recorded.workspace)
    assert undercurrent("forget", "--user-id", LEAVER) == REFUSED_INPUT
    assert f"night/{DAY} has pseudonyms of the key {KEY.fingerprint}" in capsys.readouterr().err
