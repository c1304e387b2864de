import io
import pickle
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from botocore.exceptions import ClientError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.storage import storage_path
from media import fetch
from media.clip import DecodedVideo, DecodeLimits, MediaStoreUnavailable, SamplingConfig, UnreadableMedia
from media.decode import decode_video
from media.decoders import DecoderPool
from media.fetch import S3Object, resolve_media_uri
from tests.support.media_files import write_video

SAMPLING = SamplingConfig(5.0, 40, 2, 32, "squash", 16_000)
NOISE = np.random.default_rng(1)


def reject_reason(uri: str, landing: Path, *roots: Path) -> str:
    with pytest.raises(UnreadableMedia) as caught:
        resolve_media_uri(uri, landing, roots)
    return caught.value.reason


def put(s3: Any, key: str, content: bytes) -> S3Object:
    s3.put_object(Bucket="bucket", Key=key, Body=content)
    media = resolve_media_uri(f"s3://bucket/{key}", Path("landing"))
    assert isinstance(media, S3Object)
    return media


def write_noisy_video(path: Path, seconds: float, options: dict[str, str] | None = None) -> Path:
    """Write a video that does not compress, with about 700 kB per second."""
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
def requested_blocks(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The numbers of the requested blocks."""
    requested: list[int] = []
    get = S3Object._read_block

    def counted(self: S3Object, number: int) -> bytes:
        requested.append(number)
        return get(self, number)

    monkeypatch.setattr(S3Object, "_read_block", counted)
    return requested


def test_relative_uris_start_at_the_landing_folder(tmp_path: Path) -> None:
    assert resolve_media_uri("media/v.mp4", tmp_path) == tmp_path / "media/v.mp4"
    assert resolve_media_uri("media/../v.mp4", tmp_path) == tmp_path / "v.mp4"


def test_an_absolute_path_must_lie_in_an_allowed_folder(tmp_path: Path) -> None:
    landing, root = tmp_path / "landing", tmp_path / "media"
    for allowed in (f"{landing}/v.mp4", f"{root}/v.mp4", f"{root}/../landing/v.mp4"):
        assert resolve_media_uri(allowed, landing, [root]) == Path(allowed).resolve()
    for refused in (f"{tmp_path}/v.mp4", f"{root}x/v.mp4", f"{root}/../v.mp4", "/etc/passwd", "/dev/zero"):
        assert reject_reason(refused, landing, root) == "outside_media_roots"
    assert reject_reason("/etc/passwd", storage_path("s3://bucket/landing")) == "outside_media_roots"


def test_a_link_must_not_lead_out_of_the_allowed_folders(tmp_path: Path) -> None:
    landing, outside = tmp_path / "landing", tmp_path / "outside"
    for folder in (landing, outside):
        folder.mkdir()
        (folder / "v.mp4").touch()
    (landing / "inside.mp4").symlink_to("v.mp4")
    (landing / "file.mp4").symlink_to(outside / "v.mp4")
    (landing / "folder").symlink_to(outside)
    (landing / "chain.mp4").symlink_to("folder/v.mp4")
    assert resolve_media_uri("inside.mp4", landing) == landing / "v.mp4"
    for uri in ("file.mp4", "folder/v.mp4", "folder/gone.mp4", "chain.mp4"):
        assert reject_reason(uri, landing) == "outside_media_roots"
        assert resolve_media_uri(uri, landing, [outside]).is_relative_to(outside)


def test_a_landing_folder_that_is_a_link_is_allowed(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "landing").symlink_to("real")
    assert resolve_media_uri("v.mp4", tmp_path / "landing") == tmp_path / "real" / "v.mp4"


def test_a_path_with_nul_is_missing(tmp_path: Path) -> None:
    assert reject_reason("a\0b", tmp_path) == "missing_media"


@pytest.mark.parametrize(
    "uri",
    ["../v.mp4", "media/../../v.mp4", "https://example.org/v.mp4", "file:///v.mp4", "s3://bucket", "s3:///v"],
)
def test_a_uri_outside_the_landing_folder_is_refused(tmp_path: Path, uri: str) -> None:
    assert reject_reason(uri, tmp_path) == "unsupported_uri"


INVALID_URIS = [
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


@pytest.mark.parametrize("uri", INVALID_URIS)
def test_an_invalid_s3_uri_is_refused_without_a_request(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, uri: str
) -> None:
    monkeypatch.setattr(fetch, "_s3_client", lambda: pytest.fail("the store was asked"))
    assert reject_reason(uri, tmp_path) == "unsupported_uri"


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
def test_an_unusual_key_is_a_missing_object(s3: Any, tmp_path: Path, key: str) -> None:
    assert reject_reason(f"s3://bucket/{key}", tmp_path) == "missing_media"
    assert reject_reason("s3://bucket--use1-az4--x-s3/v.mp4", tmp_path) == "missing_media"


def refuse_requests(monkeypatch: pytest.MonkeyPatch, status: int, code: str) -> None:
    """Replace the store by one that refuses every request. HEAD responses have a status but no code."""

    class Store:
        def head_object(self, **place: str) -> None:
            raise self.error(str(status), "HeadObject")

        def get_object(self, **place: str) -> None:
            raise self.error(code, "GetObject")

        def error(self, code: str, call: str) -> ClientError:
            answer = {"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}
            return ClientError(answer, call)

    monkeypatch.setattr(fetch, "_s3_client", Store)


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
def test_an_error_for_one_object_is_a_reject(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, status: int, code: str
) -> None:
    refuse_requests(monkeypatch, status, code)
    assert reject_reason("s3://bucket/v.mp4", tmp_path) == "missing_media"


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
def test_an_unavailable_store_stops_the_step(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, status: int, code: str
) -> None:
    refuse_requests(monkeypatch, status, code)
    with pytest.raises(MediaStoreUnavailable, match=rf"s3://bucket/v\.mp4.*{code}"):
        resolve_media_uri("s3://bucket/v.mp4", tmp_path)


@pytest.mark.parametrize(
    ("name", "value"), [("AWS_ENDPOINT_URL", "not an address"), ("AWS_PROFILE", "nobodys-profile")]
)
def test_an_invalid_store_setting_stops_the_step(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    monkeypatch.setattr("boto3.DEFAULT_SESSION", None)
    fetch._s3_client.cache_clear()
    with pytest.raises(MediaStoreUnavailable):
        resolve_media_uri("s3://bucket/v.mp4", tmp_path)


@given(st.lists(st.tuples(st.integers(0, 2_500_000), st.integers(0, 2_000_000)), max_size=6))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=20)
def test_an_object_reads_like_a_file(s3: Any, reads: list[tuple[int, int]]) -> None:
    content = np.random.default_rng(1).bytes(2_300_000)
    s3_object, file = put(s3, "noise", content), io.BytesIO(content)
    for offset, length in reads:
        assert s3_object.seek(offset) == file.seek(offset)
        expected = file.read(length)
        data = s3_object.read(length)
        assert expected.startswith(data)
        assert len(data) > 0 or not expected
    assert s3_object.seek(-10, io.SEEK_END) == len(content) - 10
    assert s3_object.read() == content[-10:]


def test_an_object_decodes_like_a_file(s3: Any, tmp_path: Path) -> None:
    path = write_video(tmp_path / "v.mp4", seconds=7)
    local, remote = decode_video(path, SAMPLING), decode_video(put(s3, "v.mp4", path.read_bytes()), SAMPLING)
    for actual, expected in ((local.frames, remote.frames), (local.audio, remote.audio)):
        assert actual.keys() == expected.keys()
        assert all((actual[n] == expected[n]).all() for n in actual)


@pytest.mark.parametrize("options", [{}, {"movflags": "faststart"}], ids=["index last", "index first"])
def test_the_first_segment_reads_a_part_of_a_large_object(
    s3: Any, tmp_path: Path, requested_blocks: list[int], options: dict[str, str]
) -> None:
    path = write_noisy_video(tmp_path / "v.mp4", 30, options)
    blocks = -(-path.stat().st_size // fetch.BLOCK_BYTES)
    clip = decode_video(
        put(s3, "big.mp4", path.read_bytes()), SamplingConfig(5.0, 1, 2, 32, "squash", 16_000)
    )
    assert (sorted(clip.frames), sorted(clip.audio)) == ([0], [0])
    assert blocks > 12  # their number depends on the threads of the encoder
    assert len(requested_blocks) < blocks / 2
    assert len(requested_blocks) == len(set(requested_blocks))


def test_an_object_beyond_the_limit_is_not_read(s3: Any, requested_blocks: list[int]) -> None:
    with pytest.raises(UnreadableMedia) as caught:
        decode_video(
            put(s3, "big", bytes(3 << 20)), SAMPLING, DecodeLimits(60, 1 << 40, max_file_bytes=2 << 20)
        )
    assert (caught.value.reason, requested_blocks) == ("too_large", [])


def test_missing_and_empty_objects_have_their_reasons(s3: Any, tmp_path: Path) -> None:
    assert reject_reason("s3://bucket/gone.mp4", tmp_path) == "missing_media"
    assert reject_reason("s3://nowhere/gone.mp4", tmp_path) == "missing_media"
    with pytest.raises(UnreadableMedia) as caught:
        decode_video(put(s3, "empty.mp4", b""), SAMPLING)
    assert caught.value.reason == "empty_media"


def test_an_object_replaced_during_reading_is_refused(s3: Any, tmp_path: Path) -> None:
    content = write_noisy_video(tmp_path / "v.mp4", 12, {"movflags": "faststart"}).read_bytes()
    with av.open(put(s3, "v.mp4", content)) as container:
        packets = container.demux(video=0)
        next(packets)
        put(s3, "v.mp4", bytes(len(content)))
        with pytest.raises(UnreadableMedia, match="replaced"):
            list(packets)


def test_worker_processes_read_objects(s3: Any, tmp_path: Path) -> None:
    put(s3, "v.mp4", write_video(tmp_path / "v.mp4").read_bytes())
    with DecoderPool(tmp_path, SAMPLING, DecodeLimits(60, 2 << 30), 1) as pool:
        clip, gone = pool.decode(["s3://bucket/v.mp4", "s3://bucket/gone.mp4"])
    assert isinstance(clip, DecodedVideo)
    assert isinstance(gone, UnreadableMedia)
    assert gone.reason == "missing_media"


def test_an_unreachable_endpoint_stops_the_step(
    s3: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    fetch._s3_client.cache_clear()
    with pytest.raises(MediaStoreUnavailable, match=r"s3://bucket/v\.mp4"):
        resolve_media_uri("s3://bucket/v.mp4", tmp_path)


@pytest.mark.parametrize("uri", ["media/v.mp4", "./media/x/../v.mp4"])
def test_a_relative_path_is_resolved_in_a_landing_folder_on_s3(s3: Any, uri: str) -> None:
    s3.put_object(Bucket="bucket", Key="landing/media/v.mp4", Body=b"abc")
    media = resolve_media_uri(uri, storage_path("s3://bucket/landing"))
    assert isinstance(media, S3Object)
    assert media.read() == b"abc"


def test_a_path_out_of_a_landing_folder_on_s3_is_refused(s3: Any, tmp_path: Path) -> None:
    landing = storage_path("s3://bucket/landing")
    with pytest.raises(UnreadableMedia, match="leads out"):
        resolve_media_uri("../other/v.mp4", landing)
    assert resolve_media_uri(str(tmp_path / "v.mp4"), landing, [tmp_path]) == tmp_path / "v.mp4"


@pytest.mark.parametrize(("code", "may_recover"), [("SignatureDoesNotMatch", False), ("SlowDown", True)])
def test_only_a_store_that_does_not_answer_may_recover(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, code: str, may_recover: bool
) -> None:
    refuse_requests(monkeypatch, 503 if may_recover else 403, code)
    with pytest.raises(MediaStoreUnavailable) as caught:
        resolve_media_uri("s3://bucket/v.mp4", tmp_path)
    assert pickle.loads(pickle.dumps(caught.value)).may_recover is may_recover
