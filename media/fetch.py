"""Resolve a media URI to a local file, or to an S3 object that is read in blocks."""

import io
import os
import re
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.storage import StoragePath, is_local
from media.clip import MediaStoreUnavailable, UnreadableMedia

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

BLOCK_BYTES = 1 << 20  # bytes of a request; a short video has a few blocks
CACHED_BLOCKS = 8
# It allows the names of the oldest buckets, which today's rules would refuse.
BUCKET_PATTERN = re.compile(r"[A-Za-z0-9](?!.*\.\.)[A-Za-z0-9._-]{1,253}[A-Za-z0-9]")
IP_ADDRESS_PATTERN = re.compile(r"\d+(\.\d+){3}")
MAX_KEY_BYTES = 1024
OBJECT_CHANGED_CODES = ("PreconditionFailed", "412", "InvalidRange", "416")
# Errors that concern the whole store. All other errors of S3 concern one object, which is then refused.
CREDENTIAL_ERROR_CODES = (
    *("InvalidAccessKeyId", "SignatureDoesNotMatch", "AuthorizationHeaderMalformed", "InvalidSecurity"),
    *("ExpiredToken", "InvalidToken", "TokenRefreshRequired", "RequestExpired", "RequestTimeTooSkewed"),
    *("AccountProblem", "NotSignedUp"),
)
UNAVAILABLE_CODES = (
    "SlowDown",
    "RequestTimeout",
    "InternalError",
    "ServiceUnavailable",
    "BandwidthLimitExceeded",
)
UNAVAILABLE_STATUSES = (429, 500, 502, 503, 504)


def resolve_media_uri(uri: str, landing: StoragePath, roots: Sequence[Path] = ()) -> "Path | S3Object":
    """Resolve a media URI: `s3://bucket/key`, an absolute path, or a path relative to `landing`.

    The landing folder may lie on S3. boto3 reads the address and credentials of S3 from the environment.

    Args:
        uri: the media URI, as in the catalogue.
        landing: the landing folder.
        roots: further local folders that may hold media.

    Raises:
        UnreadableMedia: the scheme is unknown, the path or a link in it leads out of `landing` and `roots`,
            the bucket or key is invalid, or the object does not exist.
        MediaStoreUnavailable: S3 does not answer or refuses the credentials.
    """
    scheme, separator, rest = uri.partition("://")
    if not separator:
        return _resolve_path(landing, uri, roots)
    if scheme != "s3":
        raise UnreadableMedia("unsupported_uri", f"{scheme}:// is not supported; use a path or s3://")
    bucket, _, key = rest.partition("/")
    if not bucket or not key:
        raise UnreadableMedia("unsupported_uri", "s3:// needs a bucket and a key; write s3://bucket/key")
    if not BUCKET_PATTERN.fullmatch(bucket) or IP_ADDRESS_PATTERN.fullmatch(bucket):
        raise UnreadableMedia(
            "unsupported_uri", f"{bucket[:80]!r} is not a valid bucket name; write s3://bucket/key"
        )
    if len(key.encode()) > MAX_KEY_BYTES or "\0" in key:
        raise UnreadableMedia(
            "unsupported_uri",
            f"the key must have at most {MAX_KEY_BYTES} bytes and no NUL; rename the object",
        )
    if not {".", ".."}.isdisjoint(key.split("/")):  # HTTP clients drop them and would read another object
        raise UnreadableMedia("unsupported_uri", "the key has . or .. between slashes; rename the object")
    return S3Object(bucket, key)


def _resolve_path(landing: StoragePath, uri: str, roots: Sequence[Path]) -> "Path | S3Object":
    if Path(uri).is_absolute():
        return _inside([*roots, landing] if is_local(landing) else roots, Path(uri))
    if os.path.normpath(uri).startswith(".."):
        raise UnreadableMedia(
            "unsupported_uri", "the path leads out of the landing folder; write a path without .."
        )
    if is_local(landing):
        return _inside([*roots, landing], landing / uri)
    return resolve_media_uri(f"{landing}/{os.path.normpath(uri)}", landing)


def _inside(folders: Sequence[Path], path: Path) -> Path:
    """Return a path without links. The catalogue is foreign data, so it must not reach any other file."""
    try:
        resolved = Path(os.path.realpath(path))
    except ValueError as error:  # a NUL in the name
        raise UnreadableMedia("missing_media", str(error)) from None
    if any(resolved.is_relative_to(os.path.realpath(folder)) for folder in folders):
        return resolved
    raise UnreadableMedia(
        "outside_media_roots",
        "the path or a link in it leads out of the landing folder; name the folder of the file in"
        " UNDERCURRENT_MEDIA_ROOTS, or move the file",
    )


class S3Object(io.RawIOBase):
    """An S3 object as a seekable file. Reads fetch blocks of `BLOCK_BYTES` bytes on demand.

    Attributes:
        size: size in bytes.

    Raises:
        UnreadableMedia: the object does not exist or cannot be read.
        MediaStoreUnavailable: S3 does not answer or refuses the credentials.
    """

    def __init__(self, bucket: str, key: str) -> None:
        self._location = {"Bucket": bucket, "Key": key}
        self._client = _s3_client()
        head = self._request("head_object", **self._location)
        self.size: int = head["ContentLength"]
        self._if_match = {"IfMatch": head["ETag"]}  # never mix the bytes of two versions of the object
        self._position = 0
        self._cached_block = lru_cache(CACHED_BLOCKS)(self._read_block)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Set the position. It may lie after the end, where reads return no bytes.

        Raises:
            ValueError: the position lies before the start.
        """
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self.size}[whence]
        if start + offset < 0:
            raise ValueError("the position lies before the start of the object")
        self._position = start + offset
        return self._position

    def readinto(self, buffer: "WriteableBuffer") -> int:
        """Read into a buffer, at most to the end of the current block. Return the number of bytes.

        Raises:
            UnreadableMedia: the object was replaced or deleted.
            MediaStoreUnavailable: S3 does not answer or refuses the credentials.
        """
        if self._position >= self.size:
            return 0
        number, start = divmod(self._position, BLOCK_BYTES)
        target = memoryview(buffer).cast("B")
        data = self._cached_block(number)[start : start + len(target)]
        target[: len(data)] = data
        self._position += len(data)
        return len(data)

    def _read_block(self, number: int) -> bytes:
        last = min((number + 1) * BLOCK_BYTES, self.size) - 1
        byte_range = f"bytes={number * BLOCK_BYTES}-{last}"
        return self._request("get_object", **self._location, **self._if_match, Range=byte_range)

    def _request(self, operation: str, **arguments: str):  # type: ignore[no-untyped-def]  # a dict or bytes
        from botocore.exceptions import (
            BotoCoreError,
            ClientError,
            ConnectionError,
            FlexibleChecksumError,
            HTTPClientError,
            ParamValidationError,
        )

        try:
            response = getattr(self._client, operation)(**arguments)
            return response["Body"].read() if "Body" in response else response
        except ClientError as error:
            # A HEAD response has no body. A GET of one byte gives the error code.
            if operation == "head_object" and _http_status(error) != 404:
                self._request("get_object", **self._location, Range="bytes=0-0")
            raise self._to_media_error(
                error.response["Error"]["Code"], _http_status(error), str(error)
            ) from None
        except ParamValidationError as error:
            raise UnreadableMedia("unsupported_uri", str(error).splitlines()[-1]) from None
        except FlexibleChecksumError as error:
            raise UnreadableMedia("unreadable_media", str(error)) from None
        except (ConnectionError, HTTPClientError) as error:
            raise MediaStoreUnavailable(f"{self._uri}: {error}", may_recover=True) from None
        except BotoCoreError as error:
            raise MediaStoreUnavailable(f"{self._uri}: {error}") from None

    def _to_media_error(
        self, code: str, status: int, message: str
    ) -> UnreadableMedia | MediaStoreUnavailable:
        """Convert an error of S3 to our exception."""
        if code in OBJECT_CHANGED_CODES:
            return UnreadableMedia("missing_media", "the object was replaced while it was read")
        if code in UNAVAILABLE_CODES or status in UNAVAILABLE_STATUSES:
            return MediaStoreUnavailable(f"{self._uri}: {message}", may_recover=True)
        if code in CREDENTIAL_ERROR_CODES:
            return MediaStoreUnavailable(f"{self._uri}: {message}")
        return UnreadableMedia("missing_media", f"S3 answered {code}")

    @property
    def _uri(self) -> str:
        return f"s3://{self._location['Bucket']}/{self._location['Key']}"


def _http_status(error: Any) -> int:
    return error.response["ResponseMetadata"].get("HTTPStatusCode", 0)


@lru_cache(maxsize=1)
def _s3_client():  # type: ignore[no-untyped-def]
    """Return the S3 client of this process, which reuses its connections.

    Raises:
        MediaStoreUnavailable: the settings of S3 in the environment are invalid.
    """
    import boto3  # slow to import, and most nights do not need it
    from botocore.exceptions import BotoCoreError

    try:
        return boto3.client("s3")
    except (BotoCoreError, ValueError) as error:
        raise MediaStoreUnavailable(str(error)) from None
