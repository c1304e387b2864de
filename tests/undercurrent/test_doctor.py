import json
import re
import socket
from pathlib import Path

import pytest

from core.errors import DONE, FAILED
from core.paths import PROJECT_ROOT
from core.pseudonyms import KEY_VARIABLE
from tests.support.command_line import undercurrent
from tests.support.pseudonyms import KEY, SECRET, private_params
from undercurrent import doctor
from undercurrent.doctor import PASSED, VARIABLES, WARNING, Check, examine

PARAMS = PROJECT_ROOT / "params.yaml"


@pytest.fixture(autouse=True)
def free_ports(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AIRFLOW", "MLFLOW", "PAGES"):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            monkeypatch.setenv(f"UNDERCURRENT_{name}_PORT", str(probe.getsockname()[1]))


def _check(name: str, params: Path = PARAMS) -> Check:
    return next(check for check in examine(params) if check.name == name)


def test_a_machine_that_can_run_nights_passes_and_nothing_is_created(home, capsys):
    assert undercurrent("doctor", "--json") == DONE
    checks = {check["name"]: check for check in json.loads(capsys.readouterr().out)}
    assert checks["Java"]["message"].startswith("Java ")
    assert checks["git"]["message"].startswith("commit ")
    assert {check["outcome"] for check in checks.values()} <= {
        PASSED,
        WARNING,
    }  # a busy machine has a warning
    assert not home.exists()


def test_a_failed_check_is_the_exit_code_and_has_a_remedy(monkeypatch, capsys):
    monkeypatch.setenv("JAVA_HOME", "/nowhere")
    assert undercurrent("doctor") == FAILED
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("Java")]
    assert re.search(r"failed .*/nowhere/bin/java cannot be run .*; run `make setup`", line)


def test_an_old_java_is_named(tmp_path, monkeypatch):
    java = tmp_path / "bin" / "java"
    java.parent.mkdir()
    java.write_text("#!/bin/sh\necho 'openjdk version \"1.8.0_292\"' >&2\n")
    java.chmod(0o755)
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    assert "is not Java 17 or newer" in _check("Java").message


def test_a_misspelled_variable_is_a_warning_with_the_likely_name(monkeypatch):
    monkeypatch.setenv("UNDERCURRENT_HOEM", "/data")
    check = _check("settings")
    assert (check.outcome, "did you mean UNDERCURRENT_HOME?" in check.message) == (WARNING, True)


def test_all_variables_of_the_code_are_known():
    packages = [path.parent for path in PROJECT_ROOT.glob("*/__init__.py") if path.parent.name != "tests"]
    texts = [path.read_text(encoding="utf-8") for folder in packages for path in folder.rglob("*.py")]
    names = {name for text in texts for name in re.findall(r"UNDERCURRENT_[A-Z_]*[A-Z]", text)}
    assert names <= VARIABLES


@pytest.mark.parametrize(
    ("name", "variable", "value", "message"),
    [
        ("home", "UNDERCURRENT_HOME", "{file}/home", "must be a folder"),
        ("home", "UNDERCURRENT_HOME", "var", "write an absolute path"),
        ("landing files", "UNDERCURRENT_LANDING", "gs://bucket", "gs:// is not supported; write"),
        ("warehouse", "UNDERCURRENT_WAREHOUSE", "s3://bucket/lake", "S3"),
        ("record store", "UNDERCURRENT_RECORD_REMOTE", "s3://bucket/store", "S3"),
        ("catalog", "UNDERCURRENT_CATALOG_URI", "postgresql+psycopg://ann:s3cret@127.0.0.1:1/x", "start it"),
        ("locks", "UNDERCURRENT_LOCK_DATABASE", "postgresql+psycopg://ann:s3cret@127.0.0.1:1/x", "start it"),
        ("MLflow", "MLFLOW_TRACKING_URI", "http://ann:s3cret@127.0.0.1:1", "start it, or correct"),
        ("ports", "UNDERCURRENT_MLFLOW_PORT", "0", "set a port number from 1 to 65535"),
    ],
)
def test_an_unusable_setting_fails_with_a_remedy_and_without_its_password(
    tmp_path, monkeypatch, name, variable, value, message
):
    file = tmp_path / "file"
    file.touch()
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv(variable, value.format(file=file))
    check = _check(name)
    assert check.outcome == doctor.FAILED
    assert message in check.message
    assert "s3cret" not in check.message


def test_a_home_without_write_permission_fails_with_a_remedy(monkeypatch, tmp_path):
    monkeypatch.setattr(doctor.os, "access", lambda *_: False)
    check = _check("home")
    assert check.outcome == doctor.FAILED
    assert f"{tmp_path} is no folder that this user can write to; change its permissions" in check.message


def test_a_port_in_use_is_a_warning(monkeypatch):
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        monkeypatch.setenv("UNDERCURRENT_PAGES_PORT", str(server.getsockname()[1]))
        check = _check("ports")
    assert check.outcome == WARNING
    assert "set UNDERCURRENT_PAGES_PORT to a free port" in check.message


def test_a_full_disk_and_little_memory_are_warnings(monkeypatch):
    monkeypatch.setattr(doctor, "MIN_DISK_GIB", 1 << 30)
    monkeypatch.setattr(doctor, "MIN_MEMORY_GIB", 1 << 30)
    assert _check("disk").outcome == _check("memory").outcome == WARNING


def test_a_record_without_a_git_identity_is_refused(tmp_path):
    params = tmp_path / "params.yaml"
    params.write_text(PARAMS.read_text().replace("author_email: undercurrent@localhost", "author_email: me"))
    check = _check("parameters", params)
    assert check.outcome == doctor.FAILED
    assert "record.author_email 'me' are no git identity; write a name and an address" in check.message


def test_pseudonyms_need_a_key_and_the_key_is_shown_by_its_fingerprint(monkeypatch, tmp_path):
    path = private_params(tmp_path)
    assert _check("pseudonyms").outcome == PASSED
    assert _check("pseudonyms", path).outcome == doctor.FAILED
    monkeypatch.setenv(KEY_VARIABLE, SECRET)
    check = _check("pseudonyms", path)
    assert check.outcome == PASSED
    assert KEY.fingerprint in check.message
    assert SECRET not in check.message
