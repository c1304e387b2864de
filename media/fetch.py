"""From a media uri to a file on this machine."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from media.clip import StoreUnavailable, Unreadable

CHUNK = 1 << 20
ABSENT = ("NoSuchKey", "NoSuchBucket", "404", "403", "AccessDenied")  # 403: absent, for who may not list


@contextmanager
def local_copy(uri: str, landing: Path) -> Iterator[Path]:
    """The file that a `media_uri` names: relative to `landing`, absolute, or `s3://bucket/key`.

    An object of S3 is a temporary file that goes away afterwards. Address and credentials of S3 come from
    the environment, as boto3 reads them.

    Raises:
        Unreadable: a uri of another kind, or no such object.
        StoreUnavailable: S3 does not answer, or refuses our credentials.
    """
    scheme, separator, rest = uri.partition("://")
    if not separator:
        yield landing / uri
    elif scheme == "s3":
        bucket, _, key = rest.partition("/")
        with tempfile.NamedTemporaryFile(suffix=Path(key).suffix) as file:
            _download(bucket, key, Path(file.name))
            yield Path(file.name)
    else:
        raise Unreadable("unsupported_uri", f"{scheme}:// is not read; use a path or s3://")


def _download(bucket: str, key: str, target: Path) -> None:
    import boto3  # slow to import, and most nights need none of it
    from botocore.exceptions import BotoCoreError, ClientError  # type: ignore[import-untyped]

    try:
        body = boto3.client("s3").get_object(Bucket=bucket, Key=key)["Body"]
        with target.open("wb") as file:
            for chunk in body.iter_chunks(CHUNK):
                file.write(chunk)
    except ClientError as error:
        code = error.response["Error"]["Code"]
        if code in ABSENT:
            raise Unreadable("missing_media", f"S3 answers {code}") from None
        raise StoreUnavailable(f"s3://{bucket}/{key}: {error}") from None
    except BotoCoreError as error:
        raise StoreUnavailable(f"s3://{bucket}/{key}: {error}") from None
