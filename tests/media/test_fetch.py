import io
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
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
