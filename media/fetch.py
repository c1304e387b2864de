"""From a media uri to what can be decoded: a file of this machine, or an object of S3 read piece by piece."""

import io
import os
import re
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from media.clip import StoreUnavailable, Unreadable

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

BLOCK = 1 << 20  # bytes a request: a short video is a few of them
BLOCKS_KEPT = 8
BUCKET = re.compile(r"[A-Za-z0-9](?!.*\.\.)[A-Za-z0-9._-]{1,253}[A-Za-z0-9]")  # as the oldest may be named
ADDRESS = re.compile(r"\d+(\.\d+){3}")
KEY_BYTES = 1024
CHANGED = ("PreconditionFailed", "412", "InvalidRange", "416")
# What does not depend on the object. All else that S3 answers is about one object, and costs that one.
REFUSES_US = (
    *("InvalidAccessKeyId", "SignatureDoesNotMatch", "AuthorizationHeaderMalformed", "InvalidSecurity"),
    *("ExpiredToken", "InvalidToken", "TokenRefreshRequired", "RequestExpired", "RequestTimeTooSkewed"),
    *("AccountProblem", "NotSignedUp"),
)
AWAY = ("SlowDown", "RequestTimeout", "InternalError", "ServiceUnavailable", "BandwidthLimitExceeded")
AWAY_STATUS = (429, 500, 502, 503, 504)


def find(uri: str, landing: Path) -> "Path | S3Object":
    """What a `media_uri` names: a path relative to `landing` or absolute, or `s3://bucket/key`.

    Address and credentials of S3 come from the environment, as boto3 reads them.

    Raises:
        Unreadable: a uri of another kind, one that leads out of `landing`, one that no object can have, or
            no such object.
        StoreUnavailable: S3 does not answer, or refuses our credentials.
    """
    scheme, separator, rest = uri.partition("://")
    if not separator:
        return _inside(landing, uri)
    if scheme != "s3":
        raise Unreadable("unsupported_uri", f"{scheme}:// is not read; use a path or s3://")
    bucket, _, key = rest.partition("/")
    if not bucket or not key:
        raise Unreadable("unsupported_uri", "s3:// needs a bucket and a key; write s3://bucket/key")
    if not BUCKET.fullmatch(bucket) or ADDRESS.fullmatch(bucket):
        raise Unreadable("unsupported_uri", f"no bucket is named {bucket[:80]!r}; write s3://bucket/key")
    if len(key.encode()) > KEY_BYTES or "\0" in key:
        raise Unreadable("unsupported_uri", f"a key has at most {KEY_BYTES} bytes, and no NUL among them")
    if not {".", ".."}.isdisjoint(key.split("/")):  # HTTP would leave them out, and ask for another object
        raise Unreadable("unsupported_uri", "the key has . or .. between slashes; write it without")
    return S3Object(bucket, key)


def _inside(landing: Path, uri: str) -> Path:
    """The path, by its words alone: a link in `landing` was put there by whoever runs the place."""
    if not Path(uri).is_absolute() and os.path.normpath(uri).startswith(".."):
        raise Unreadable("unsupported_uri", "the path leads out of the landing folder; write it without ..")
    return landing / uri


class S3Object(io.RawIOBase):
    """An object of S3 as a file that is read where it is looked at, `BLOCK` bytes a request.

    Attributes:
        size: in bytes.
    """

    def __init__(self, bucket: str, key: str) -> None:
        self._place = {"Bucket": bucket, "Key": key}
        self._client = _client()
        head = self._ask("head_object", **self._place)
        self.size: int = head["ContentLength"]
        self._version = {"IfMatch": head["ETag"]}  # an object replaced midway is not two halves
        self._position = 0
        self._block = lru_cache(BLOCKS_KEPT)(self._get)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """A place before the start is an error; one behind the end is not, and reads as nothing."""
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self.size}[whence]
        if start + offset < 0:
            raise ValueError("the place lies before the start")
        self._position = start + offset
        return self._position

    def readinto(self, buffer: "WriteableBuffer") -> int:
        """Fill at most the buffer, and from one block only: whoever wants more reads again.

        Raises:
            Unreadable, StoreUnavailable: as for `find`.
        """
        if self._position >= self.size:
            return 0
        number, start = divmod(self._position, BLOCK)
        target = memoryview(buffer).cast("B")
        piece = self._block(number)[start : start + len(target)]
        target[: len(piece)] = piece
        self._position += len(piece)
        return len(piece)

    def _get(self, number: int) -> bytes:
        last = min((number + 1) * BLOCK, self.size) - 1
        wanted = f"bytes={number * BLOCK}-{last}"
        return self._ask("get_object", **self._place, **self._version, Range=wanted)

    def _ask(self, call: str, **arguments: str):  # type: ignore[no-untyped-def]  # a head, or bytes
        from botocore.exceptions import (  # type: ignore[import-untyped]
            BotoCoreError,
            ClientError,
            FlexibleChecksumError,
            ParamValidationError,
        )

        try:
            answer = getattr(self._client, call)(**arguments)
            return answer["Body"].read() if "Body" in answer else answer
        except ClientError as error:
            if call == "head_object" and _status(error) != 404:  # without a body: GET tells the reason
                self._ask("get_object", **self._place, Range="bytes=0-0")
            raise self._refusal(error.response["Error"]["Code"], _status(error), str(error)) from None
        except ParamValidationError as error:
            raise Unreadable("unsupported_uri", str(error).splitlines()[-1]) from None
        except FlexibleChecksumError as error:
            raise Unreadable("unreadable_media", str(error)) from None
        except BotoCoreError as error:
            raise StoreUnavailable(f"{self._name}: {error}") from None

    def _refusal(self, code: str, status: int, words: str) -> Unreadable | StoreUnavailable:
        """What an answer of S3 other than yes means."""
        if code in CHANGED:
            return Unreadable("missing_media", "the object was replaced while it was read")
        if code in REFUSES_US or code in AWAY or status in AWAY_STATUS:
            return StoreUnavailable(f"{self._name}: {words}")
        return Unreadable("missing_media", f"S3 answers {code}")

    @property
    def _name(self) -> str:
        return f"s3://{self._place['Bucket']}/{self._place['Key']}"


def _status(error: Any) -> int:
    return error.response["ResponseMetadata"].get("HTTPStatusCode", 0)


@lru_cache(maxsize=1)
def _client():  # type: ignore[no-untyped-def]
    """One client a process: it keeps its connections.

    Raises:
        StoreUnavailable: the environment names no client that can be.
    """
    import boto3  # slow to import, and most nights need none of it
    from botocore.exceptions import BotoCoreError

    try:
        return boto3.client("s3")
    except (BotoCoreError, ValueError) as error:
        raise StoreUnavailable(str(error)) from None
