import io
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from botocore.exceptions import ClientError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from media import fetch
from media.clip import Clip, Limits, Sampling, StoreUnavailable, Unreadable
from media.decode import decode
from media.decoders import Decoders
from media.fetch import S3Object, find
from tests.media.files import write_video

SAMPLING = Sampling(5.0, 40, 2, 32, "squash", 16_000)
NOISE = np.random.default_rng(1)


def reason(uri: str, landing: Path) -> str:
    with pytest.raises(Unreadable) as caught:
        find(uri, landing)
    return caught.value.reason


def put(s3: Any, key: str, content: bytes) -> S3Object:
    s3.put_object(Bucket="bucket", Key=key, Body=content)
    found = find(f"s3://bucket/{key}", Path("landing"))
    assert isinstance(found, S3Object)
    return found


def noisy(path: Path, seconds: float, options: dict[str, str] | None = None) -> Path:
    """A video that does not compress: some 700 kB a second."""
    pictures = [NOISE.integers(0, 255, (480, 640, 3), np.uint8) for _ in range(10)]
    return write_video(
        path,
        seconds,
        picture=lambda t: pictures[round(t * 10) % 10],
        codec="mjpeg",
        pixels="yuvj420p",
        options=options,
    )


@pytest.fixture
def requests(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The numbers of the blocks that were asked for."""
    asked: list[int] = []
    get = S3Object._get

    def counted(self: S3Object, number: int) -> bytes:
        asked.append(number)
        return get(self, number)

    monkeypatch.setattr(S3Object, "_get", counted)
    return asked


def test_a_relative_uri_starts_at_the_landing_folder_and_an_absolute_one_does_not(tmp_path: Path) -> None:
    assert find("media/v.mp4", tmp_path) == tmp_path / "media/v.mp4"
    assert find("media/../v.mp4", tmp_path) == tmp_path / "media/../v.mp4"
    assert find("/elsewhere/v.mp4", tmp_path) == Path("/elsewhere/v.mp4")


@pytest.mark.parametrize(
    "uri",
    ["../v.mp4", "media/../../v.mp4", "https://example.org/v.mp4", "file:///v.mp4", "s3://bucket", "s3:///v"],
)
def test_an_address_that_leads_elsewhere_is_refused(tmp_path: Path, uri: str) -> None:
    assert reason(uri, tmp_path) == "unsupported_uri"


CANNOT_BE = [
    *("s3://my bucket/v.mp4", "s3://127.0.0.1:8080/v.mp4", "s3://127.0.0.1/v.mp4", "s3://bücket/v.mp4"),
    *(
        "s3://user:pw@bucket/v.mp4",
        "s3://bucket?a/v.mp4",
        "s3://arn:aws:s3:eu-west-1:1234:accesspoint:a/v.mp4",
    ),
    *("s3://-bucket/v.mp4", "s3://buc..ket/v.mp4", "s3://ab/v.mp4", f"s3://{'b' * 256}/v.mp4", "s3://b\0b/v"),
    *(f"s3://bucket/{'k' * 1025}", f"s3://bucket/{'é' * 513}", "s3://bucket/a\0b"),
    *(
        "s3://bucket/../v.mp4",
        "s3://bucket/a/../v.mp4",
        "s3://bucket/./v.mp4",
        "s3://bucket/.",
        "s3://bucket/a/..",
    ),
]


@pytest.mark.parametrize("uri", CANNOT_BE)
def test_an_address_that_no_object_can_have_is_refused_without_asking_for_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, uri: str
) -> None:
    monkeypatch.setattr(fetch, "_client", lambda: pytest.fail("the store was asked"))
    assert reason(uri, tmp_path) == "unsupported_uri"


@pytest.mark.parametrize(
    "key",
    [
        "a b+c%20d",
        "日本?x=1#f&y",
        "a//b",
        "/a",
        "a\nb",
        "\x7f",
        " \t",
        "..a",
        "\\x",
        "k" * 1024,
        "é" * 512,
        "a/",
        "%",
    ],
)
def test_an_odd_key_is_an_object_that_is_not_there(s3: Any, tmp_path: Path, key: str) -> None:
    assert reason(f"s3://bucket/{key}", tmp_path) == "missing_media"
    assert reason("s3://bucket--use1-az4--x-s3/v.mp4", tmp_path) == "missing_media"


def refusing(monkeypatch: pytest.MonkeyPatch, status: int, code: str) -> None:
    """A store that answers every GET by this; and, as HEAD has no body, every HEAD by the status alone."""

    class Store:
        def head_object(self, **place: str) -> None:
            raise self.error(str(status), "HeadObject")

        def get_object(self, **place: str) -> None:
            raise self.error(code, "GetObject")

        def error(self, code: str, call: str) -> ClientError:
            answer = {"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}
            return ClientError(answer, call)

    monkeypatch.setattr(fetch, "_client", Store)


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (400, "InvalidRequest"),
        (400, "InvalidArgument"),
        (301, "PermanentRedirect"),
        (403, "AccessDenied"),
        (403, "InvalidObjectState"),
        (404, "NoSuchBucket"),
        (405, "MethodNotAllowed"),
        (501, "NotImplemented"),
        (418, "SomethingNew"),
    ],
)
def test_what_the_store_answers_about_one_object_is_no_reason_to_stop_the_night(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, status: int, code: str
) -> None:
    refusing(monkeypatch, status, code)
    assert reason("s3://bucket/v.mp4", tmp_path) == "missing_media"


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (403, "InvalidAccessKeyId"),
        (403, "SignatureDoesNotMatch"),
        (403, "RequestTimeTooSkewed"),
        (400, "ExpiredToken"),
        (400, "AuthorizationHeaderMalformed"),
        (500, "InternalError"),
        (503, "SlowDown"),
        (429, "TooManyRequests"),
        (400, "RequestTimeout"),
    ],
)
def test_a_store_that_is_away_or_refuses_our_credentials_is_not_the_files_fault(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, status: int, code: str
) -> None:
    refusing(monkeypatch, status, code)
    with pytest.raises(StoreUnavailable, match=rf"s3://bucket/v\.mp4.*{code}"):
        find("s3://bucket/v.mp4", tmp_path)


@pytest.mark.parametrize(
    ("name", "value"), [("AWS_ENDPOINT_URL", "not an address"), ("AWS_PROFILE", "nobodys-profile")]
)
def test_a_setting_of_the_store_that_cannot_be_is_not_the_files_fault(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    monkeypatch.setattr("boto3.DEFAULT_SESSION", None)
    fetch._client.cache_clear()
    with pytest.raises(StoreUnavailable):
        find("s3://bucket/v.mp4", tmp_path)


@given(st.lists(st.tuples(st.integers(0, 2_500_000), st.integers(0, 2_000_000)), max_size=6))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=20)
def test_an_object_reads_like_a_file_wherever_it_is_read(s3: Any, looks: list[tuple[int, int]]) -> None:
    content = np.random.default_rng(1).bytes(2_300_000)
    ours, file = put(s3, "noise", content), io.BytesIO(content)
    for place, length in looks:
        assert ours.seek(place) == file.seek(place)
        wanted = file.read(length)
        piece = ours.read(length)
        assert wanted.startswith(piece)
        assert len(piece) > 0 or not wanted
    assert ours.seek(-10, io.SEEK_END) == len(content) - 10
    assert ours.read() == content[-10:]


def test_an_object_and_a_file_of_the_same_bytes_give_the_same_clip(s3: Any, tmp_path: Path) -> None:
    path = write_video(tmp_path / "v.mp4", seconds=7)
    here, there = decode(path, SAMPLING), decode(put(s3, "v.mp4", path.read_bytes()), SAMPLING)
    for ours, theirs in ((here.frames, there.frames), (here.sound, there.sound)):
        assert ours.keys() == theirs.keys()
        assert all((ours[n] == theirs[n]).all() for n in ours)


@pytest.mark.parametrize("options", [{}, {"movflags": "faststart"}], ids=["index last", "index first"])
def test_the_first_segment_of_a_big_object_costs_a_part_of_its_bytes(
    s3: Any, tmp_path: Path, requests: list[int], options: dict[str, str]
) -> None:
    path = noisy(tmp_path / "v.mp4", 30, options)
    blocks = -(-path.stat().st_size // fetch.BLOCK)
    clip = decode(put(s3, "big.mp4", path.read_bytes()), Sampling(5.0, 1, 2, 32, "squash", 16_000))
    assert (sorted(clip.frames), sorted(clip.sound)) == ([0], [0])
    assert blocks > 12  # how many, depends on how many threads the encoder has
    assert len(requests) < blocks / 2
    assert len(requests) == len(set(requests))


def test_an_object_beyond_the_limit_is_refused_before_a_byte_is_read(s3: Any, requests: list[int]) -> None:
    with pytest.raises(Unreadable) as caught:
        decode(put(s3, "big", bytes(3 << 20)), SAMPLING, Limits(60, 1 << 40, file_bytes=2 << 20))
    assert (caught.value.reason, requests) == ("too_large", [])


def test_an_object_that_is_not_there_or_empty_has_its_reason(s3: Any, tmp_path: Path) -> None:
    assert reason("s3://bucket/gone.mp4", tmp_path) == "missing_media"
    assert reason("s3://nowhere/gone.mp4", tmp_path) == "missing_media"
    with pytest.raises(Unreadable) as caught:
        decode(put(s3, "empty.mp4", b""), SAMPLING)
    assert caught.value.reason == "empty_media"


def test_an_object_replaced_while_it_is_read_is_not_mixed_with_the_new_one(s3: Any, tmp_path: Path) -> None:
    content = noisy(tmp_path / "v.mp4", 12, {"movflags": "faststart"}).read_bytes()
    with av.open(put(s3, "v.mp4", content)) as container:
        packets = container.demux(video=0)
        next(packets)
        put(s3, "v.mp4", bytes(len(content)))
        with pytest.raises(Unreadable, match="replaced"):
            list(packets)


def test_the_processes_read_objects_too(s3: Any, tmp_path: Path) -> None:
    put(s3, "v.mp4", write_video(tmp_path / "v.mp4").read_bytes())
    with Decoders(tmp_path, SAMPLING, Limits(60, 2 << 30), 1) as pool:
        clip, gone = pool.decode(["s3://bucket/v.mp4", "s3://bucket/gone.mp4"])
    assert isinstance(clip, Clip)
    assert isinstance(gone, Unreadable)
    assert gone.reason == "missing_media"


def test_credentials_that_the_store_does_not_know_are_not_the_files_fault(
    s3: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    fetch._client.cache_clear()
    with pytest.raises(StoreUnavailable, match=r"s3://bucket/v\.mp4"):
        find("s3://bucket/v.mp4", tmp_path)
