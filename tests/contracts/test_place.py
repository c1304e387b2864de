import pytest

from contracts.place import without_credentials


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("postgresql://ann:s3cret@db:5432/mlflow", "postgresql://***@db:5432/mlflow"),
        ("https://t0ken@git.example/x.git", "https://***@git.example/x.git"),
        ("https://:s3cret@host/x", "https://***@host/x"),
        ("postgresql://ann:s3/cr@et@db/mlflow", "postgresql://***@db/mlflow"),
        (
            "postgresql+psycopg2://db/x?user=ann&password=s3cret&a=1",
            "postgresql+psycopg2://db/x?user=ann&password=***&a=1",
        ),
        ("https://host/x?X-Amz-Security-Token=s3cret", "https://host/x?X-Amz-Security-Token=***"),
        (
            "cannot reach 'mysql://a:b@one/x', nor http://c:d@two/y: refused\nsee s3://e:f@three",
            "cannot reach 'mysql://***@one/x', nor http://***@two/y: refused\nsee s3://***@three",
        ),
    ],
)
def test_credentials_are_hidden_wherever_they_stand_in_a_text(text, told):
    assert without_credentials(text) == told


@pytest.mark.parametrize(
    "text",
    [
        "sqlite:////data/ann:x@lab/mlflow.db",
        "s3://bucket/videos/a@b.mp4",
        "http://127.0.0.1:8080/dags/nightly",
        "/data/ann@lab: no such file; write to ann@example.com",
        "https://host/x?night=2026-03-12&page=2",
        "",
    ],
)
def test_what_holds_no_credentials_stays_as_it_is(text):
    assert without_credentials(text) == text
