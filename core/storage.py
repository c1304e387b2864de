"""Files on the local disk or on S3, as one kind of path.

An `s3://` address becomes a `UPath`, which has the methods of `pathlib.Path`. Address and credentials of S3
come from the environment, as boto3 reads them: AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY,
AWS_SESSION_TOKEN and AWS_DEFAULT_REGION.
"""

import os
from pathlib import Path
from typing import TypeGuard

from upath import UPath

from core.errors import InputError, ServiceUnavailableError

StoragePath = Path | UPath
# Variable of the environment -> property of pyiceberg. The first variable that is set counts.
ICEBERG_PROPERTIES = {
    "AWS_ENDPOINT_URL_S3": "s3.endpoint",
    "AWS_ENDPOINT_URL": "s3.endpoint",
    "AWS_ACCESS_KEY_ID": "s3.access-key-id",
    "AWS_SECRET_ACCESS_KEY": "s3.secret-access-key",
    "AWS_SESSION_TOKEN": "s3.session-token",
    "AWS_REGION": "s3.region",
    "AWS_DEFAULT_REGION": "s3.region",
}


def storage_path(address: str | Path) -> StoragePath:
    """Return the path of a folder: an absolute local path, or one on S3.

    Args:
        address: A local path, or `s3://bucket/prefix`.

    Raises:
        InputError: The address has another scheme, or names no bucket.
    """
    scheme, separator, rest = str(address).partition("://")
    if not separator:
        return Path(address).resolve()
    if scheme != "s3":
        raise InputError(
            f"{address}: {scheme}:// is not supported; write a local folder or s3://bucket/folder"
        )
    if not rest.strip("/"):
        raise InputError(f"{address} names no bucket; write s3://bucket/folder")
    return UPath(f"s3://{rest.strip('/')}")


def is_local(path: StoragePath) -> TypeGuard[Path]:
    """Return whether a path is on the local disk."""
    return isinstance(path, Path)


def iceberg_properties() -> dict[str, str]:
    """Return the properties by which pyiceberg reaches S3."""
    properties: dict[str, str] = {}
    for variable, name in ICEBERG_PROPERTIES.items():
        if value := os.environ.get(variable):
            properties.setdefault(name, value)
    return properties


def require_access(folder: StoragePath) -> None:
    """Check that a folder on S3 can be listed. A folder that does not exist yet is no error.

    Raises:
        InputError: The bucket is missing, or S3 refuses the credentials.
        ServiceUnavailableError: S3 does not answer.
    """
    if not isinstance(folder, UPath):
        return
    from botocore.exceptions import BotoCoreError, NoCredentialsError

    bucket = str(folder).removeprefix("s3://").partition("/")[0]
    try:
        folder.fs.invalidate_cache()
        folder.fs.ls(bucket, refresh=True)
    except FileNotFoundError:
        raise InputError(
            f"{folder}: there is no bucket {bucket}; create it, or correct the address"
        ) from None
    except (PermissionError, NoCredentialsError) as error:
        raise InputError(
            f"{folder}: S3 refuses access ({error}); correct AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        ) from None
    except (BotoCoreError, OSError) as error:
        raise ServiceUnavailableError(
            f"{folder}: S3 does not answer ({error}); start it, or correct AWS_ENDPOINT_URL"
        ) from None
