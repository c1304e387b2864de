"""The S3 server of `make up PROFILE=postgres`: SeaweedFS, with its data in the home.

Only its S3 port asks for a key. Its other ports do not, so all of them listen on loopback only.
"""

import json
import os
import secrets
import shutil
import sys
from pathlib import Path
from typing import Any

from core import paths
from core.errors import InputError
from ops import ports
from ops.ports import LOOPBACK
from ops.private_files import write_private
from ops.supervisor import Component

BUCKET = "undercurrent"
REGION = "us-east-1"
USER = "undercurrent"
# The ports that only the parts of the server use among themselves.
INTERNAL_PORTS = (
    *("master.port", "master.port.grpc", "volume.port", "volume.port.grpc"),
    *("filer.port", "filer.port.grpc", "s3.port.grpc"),
)


def component(port: int) -> Component:
    """Return the server.

    Args:
        port: Port of S3. The other ports are free ones.

    Raises:
        InputError: SeaweedFS is not installed.
    """
    internal = zip(INTERNAL_PORTS, ports.find_free(len(INTERNAL_PORTS)), strict=True)
    command = [_program(), "server", f"-dir={_folder()}", f"-ip={LOOPBACK}", f"-ip.bind={LOOPBACK}"]
    command += ["-s3", f"-s3.config={_write_config()}", f"-s3.port={port}"]
    command += ["-s3.port.iceberg=0", "-s3.port.lance=0", "-volume.max=0", "-master.volumeSizeLimitMB=1024"]
    command += ["-master.telemetry=false", *(f"-{name}={number}" for name, number in internal)]
    return Component("s3", command, {"PATH": os.environ.get("PATH", ""), "HOME": str(_folder())})


def variables(port: int) -> dict[str, str]:
    """Return the variables that lead a client of S3, such as boto3 or MLflow, to the server."""
    keys = _keys()
    return {
        "AWS_ENDPOINT_URL": f"http://{LOOPBACK}:{port}",
        "AWS_ACCESS_KEY_ID": keys["accessKey"],
        "AWS_SECRET_ACCESS_KEY": keys["secretKey"],
        "AWS_DEFAULT_REGION": REGION,
        "MLFLOW_S3_ENDPOINT_URL": f"http://{LOOPBACK}:{port}",
    }


def is_ready(port: int) -> bool:
    """Whether the server has the bucket and stores objects. Its parts start one by one.

    The bucket is created if it is missing.
    """
    from botocore.exceptions import BotoCoreError, ClientError

    client = _client(port)
    try:
        if BUCKET not in [bucket["Name"] for bucket in client.list_buckets()["Buckets"]]:
            client.create_bucket(Bucket=BUCKET)
        client.put_object(Bucket=BUCKET, Key="ready", Body=b"yes")
    except (BotoCoreError, ClientError):
        return False
    return True


def _client(port: int) -> Any:
    import boto3
    from botocore.config import Config

    address = variables(port)
    return boto3.client(
        "s3",
        endpoint_url=address["AWS_ENDPOINT_URL"],
        aws_access_key_id=address["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=address["AWS_SECRET_ACCESS_KEY"],
        region_name=REGION,
        config=Config(proxies={}, retries={"total_max_attempts": 1}),
    )


def _write_config() -> Path:
    """Write the server's list of users to a private file, and return the file."""
    identity = {"name": USER, "credentials": [_keys()], "actions": ["Admin", "Read", "Write", "List"]}
    path = paths.home() / "profile" / "s3_users.json"
    write_private(path, {"identities": [identity]})
    return path


def _keys() -> dict[str, str]:
    """Return the key pair. The first call generates it."""
    path = paths.home() / "profile" / "s3_keys.json"
    if not path.exists():
        write_private(path, {"accessKey": secrets.token_hex(10), "secretKey": secrets.token_hex(20)})
    return dict(json.loads(path.read_text(encoding="utf-8")))


def _folder() -> Path:
    folder = paths.home() / "s3"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return folder


def _program() -> str:
    installed = Path(sys.executable).parent / "weed"
    program = str(installed) if installed.exists() else shutil.which("weed")
    if program is None:
        raise InputError("SeaweedFS (weed) is not installed; run `make setup`")
    return program
