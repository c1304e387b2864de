"""Files on the local disk or on S3, as one kind of path.

An `s3://` address becomes a `UPath`, which has the methods of `pathlib.Path`. Address and credentials of S3
come from the environment, as boto3 reads them: AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY,
AWS_SESSION_TOKEN and AWS_DEFAULT_REGION.
"""

import io
import os
import shutil
import stat
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple, TypeGuard

from upath import UPath

from core.errors import InputError, ServiceUnavailableError

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

StoragePath = Path | UPath
MIB = 1 << 20
S3_BLOCK_BYTES = 8 * MIB  # of a request, for files that are read from start to end
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


class FileStatus(NamedTuple):
    """Size and age of a file.

    Attributes:
        size: Its size in bytes.
        modified: Its time of modification, in seconds since 1970.
        version: A text that changes if the file is replaced: the exact time, or the ETag on S3.
    """

    size: int
    modified: float
    version: str


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
    if isinstance(folder, Path):
        return
    bucket = str(folder).removeprefix("s3://").partition("/")[0]
    try:
        with explained_errors(folder):
            folder.fs.invalidate_cache()
            folder.fs.ls(bucket, refresh=True)
    except FileNotFoundError:
        raise InputError(
            f"{folder}: there is no bucket {bucket}; create it, or correct the address"
        ) from None


@contextmanager
def explained_errors(path: StoragePath) -> Iterator[None]:
    """Turn errors of S3 into one sentence each. Errors of local files and missing objects stay as they are.

    Args:
        path: The file or folder that the block reads or writes.

    Raises:
        InputError: S3 refuses the credentials.
        ServiceUnavailableError: S3 does not answer or cannot store more.
    """
    if isinstance(path, Path):
        yield
        return
    from botocore.exceptions import BotoCoreError, NoCredentialsError

    try:
        yield
    except FileNotFoundError:
        raise
    except (BotoCoreError, OSError) as error:
        # pyarrow gives the kind of error in its text only.
        if isinstance(error, PermissionError | NoCredentialsError) or "ACCESS_DENIED" in str(error):
            raise InputError(
                f"{path}: S3 refuses access ({error}); correct AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY,"
                " or the rights of this key"
            ) from None
        raise ServiceUnavailableError(
            f"{path}: S3 does not answer or cannot store more ({error}); start it, free space, or correct"
            " AWS_ENDPOINT_URL"
        ) from None


def file_path(address: str) -> StoragePath:
    """Return the path of a file or folder by the address that Iceberg stores. Links are not followed."""
    return UPath(address) if address.startswith("s3://") else Path(address.removeprefix("file://"))


def create_folder(folder: StoragePath) -> None:
    """Create a local folder and its parents. On S3 a folder exists as soon as an object is in it."""
    if isinstance(folder, Path):
        folder.mkdir(parents=True, exist_ok=True)


def delete_folder(folder: StoragePath) -> None:
    """Delete a folder and all files in it. A folder that does not exist is no error."""
    with explained_errors(folder), suppress(FileNotFoundError):
        if isinstance(folder, Path):
            shutil.rmtree(folder)
        else:
            folder.fs.rm(str(folder), recursive=True)


def list_folder(folder: StoragePath) -> list[StoragePath]:
    """Return the entries of a folder, sorted by name. A folder that does not exist has none.

    S3 is asked at each call. After it, `is_dir` and `stat` of an entry need no request.

    Raises:
        InputError, ServiceUnavailableError: As `explained_errors`.
    """
    if isinstance(folder, Path):
        return sorted(folder.iterdir()) if folder.is_dir() else []
    try:
        with explained_errors(folder):
            entries = folder.fs.ls(str(folder), detail=False, refresh=True)
    except FileNotFoundError:
        return []
    names = {name.rstrip("/") for name in entries} - {folder.path}  # the object that stands for the folder
    return sorted(folder / name.rpartition("/")[2] for name in names)


def list_files_below(folder: StoragePath) -> dict[StoragePath, FileStatus]:
    """Return path -> status of all files in a folder and its sub-folders, sorted by path.

    Raises:
        InputError, ServiceUnavailableError: As `explained_errors`.
    """
    if isinstance(folder, Path):
        return _list_local_files(folder)
    with explained_errors(folder):
        objects = folder.fs.find(str(folder), detail=True)
    return {
        UPath(f"s3://{name}"): _object_status(info)
        for name, info in sorted(objects.items())
        if info["type"] == "file" and not name.endswith("/")  # some tools store an object for a folder
    }


def _list_local_files(folder: Path) -> dict[StoragePath, FileStatus]:
    files: dict[StoragePath, FileStatus] = {}
    for path in sorted(folder.rglob("*")):
        with suppress(FileNotFoundError):  # a commit deletes its oldest metadata file
            status = path.stat()
            if stat.S_ISREG(status.st_mode):
                files[path] = _local_status(status)
    return files


def total_bytes(addresses: Sequence[str]) -> int:
    """Return the size of some files together, in bytes. They are all local or all on S3.

    Raises:
        InputError, ServiceUnavailableError: As `explained_errors`.
    """
    paths = [file_path(address) for address in addresses]
    if paths and isinstance(paths[0], UPath):
        with explained_errors(paths[0]):
            return sum(paths[0].fs.sizes(list(addresses)))  # many requests at once
    return sum(path.stat().st_size for path in paths)


def file_status(path: StoragePath) -> FileStatus:
    """Return the status of a file.

    Raises:
        OSError: It cannot be read.
    """
    if isinstance(path, Path):
        return _local_status(path.stat())
    return _object_status(path.fs.info(str(path)))


def _local_status(status: os.stat_result) -> FileStatus:
    return FileStatus(status.st_size, status.st_mtime, str(status.st_mtime_ns))


def _object_status(info: Mapping[str, Any]) -> FileStatus:
    return FileStatus(info["size"], info["LastModified"].timestamp(), info["ETag"])


def relative_name(path: StoragePath, folder: StoragePath) -> str:
    """Return the path of a file relative to a folder above it, with slashes."""
    return PurePosixPath(str(path)).relative_to(str(folder)).as_posix()


def open_stream(path: StoragePath) -> io.BufferedReader:
    """Open a file for reading. From S3 it is read in large blocks.

    Raises:
        OSError: A local file cannot be read, or an object does not exist.
        InputError, ServiceUnavailableError: As `explained_errors`, here or while it is read.
    """
    return io.BufferedReader(io.FileIO(path) if isinstance(path, Path) else S3File(path), MIB)


def arrow_source(path: StoragePath) -> Path | BinaryIO:
    """Return what pyarrow opens: a local path, which it reads by itself, or an open file on S3."""
    return path if isinstance(path, Path) else open_stream(path)


class S3File(io.RawIOBase):
    """An object on S3, open for reading. If it is replaced meanwhile, reading fails.

    Args:
        path: Its path.
    """

    def __init__(self, path: UPath) -> None:
        self._path = path
        with explained_errors(path):
            self._file = path.open("rb", block_size=S3_BLOCK_BYTES)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._file.tell()

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self._file.seek(offset, whence)

    def readinto(self, buffer: "WriteableBuffer") -> int:
        with explained_errors(self._path):
            return self._file.readinto(buffer)  # type: ignore[attr-defined]  # fsspec has it


def replace_file(copy: StoragePath, path: StoragePath) -> None:
    """Put a copy in the place of a file, at once. The copy is then gone."""
    if isinstance(copy, Path) and isinstance(path, Path):
        shutil.copymode(path, copy)
        copy.replace(path)
    elif isinstance(copy, UPath):
        with explained_errors(path):
            copy.fs.mv(str(copy), str(path))
