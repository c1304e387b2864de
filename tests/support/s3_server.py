"""A real S3 server for tests: SeaweedFS, one process on loopback, gone with its `with` block."""

import json
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import boto3
from botocore.exceptions import BotoCoreError, ClientError

WEED = Path(sys.executable).parent / "weed"
KEYS = {"accessKey": "test", "secretKey": "test-secret"}
# An identity that may not write.
READER_KEYS = {"accessKey": "reader", "secretKey": "reader-secret"}
IDENTITIES = [
    {"name": "test", "credentials": [KEYS], "actions": ["Admin", "Read", "Write", "List"]},
    {"name": "reader", "credentials": [READER_KEYS], "actions": ["Read", "List"]},
]
SERVERS = ("master.port", "volume.port", "filer.port", "s3.port")
PORTS = [flag for name in SERVERS for flag in (name, f"{name}.grpc")]
START_SECONDS = 60
START_ATTEMPTS = 3


@contextmanager
def seaweedfs(folder: Path) -> Iterator[dict[str, str]]:
    """Run the server with its data in `folder`; gives the AWS_… variables that lead to it."""
    with ExitStack() as stack:
        for attempt in range(1, START_ATTEMPTS + 1):  # another process can take a free port first
            try:
                address = stack.enter_context(_seaweedfs_on(folder, _free_ports()))
                break
            except RuntimeError:
                if attempt == START_ATTEMPTS:
                    raise
        yield address


@contextmanager
def _seaweedfs_on(folder: Path, ports: list[int]) -> Iterator[dict[str, str]]:
    config = folder / "s3.json"
    config.write_text(json.dumps({"identities": IDENTITIES}), encoding="utf-8")
    flags = [f"-{flag}={port}" for flag, port in zip(PORTS, ports, strict=True)]
    options = [
        "-s3",
        f"-s3.config={config}",
        "-s3.port.iceberg=0",
        "-s3.port.lance=0",
        "-volume.max=20",
        "-master.volumeSizeLimitMB=64",
        "-master.telemetry=false",
    ]
    location = [f"-dir={folder}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1"]
    with (folder / "log").open("w") as log:
        server = subprocess.Popen(
            [WEED, "server", *location, *options, *flags], stdout=log, stderr=log, cwd=folder
        )
    address = {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{ports[PORTS.index('s3.port')]}",
        "AWS_ACCESS_KEY_ID": KEYS["accessKey"],
        "AWS_SECRET_ACCESS_KEY": KEYS["secretKey"],
        "AWS_DEFAULT_REGION": "us-east-1",
        "TEST_S3_FILER": f"http://127.0.0.1:{ports[PORTS.index('filer.port')]}",
    }
    try:
        _wait(server, address, folder / "log")
        yield address
    finally:
        server.kill()
        server.wait()


@contextmanager
def read_only(address: dict[str, str]) -> Iterator[None]:
    """Refuse all writes to the bucket, as the server does when the bucket's quota is used up."""
    _configure_filer(address, [{"locationPrefix": "/buckets/bucket/", "readOnly": True}])
    try:
        yield
    finally:
        _configure_filer(address, [])


def _configure_filer(address: dict[str, str], locations: list[dict[str, Any]]) -> None:
    body = json.dumps({"version": 0, "locations": locations}).encode()
    url = f"{address['TEST_S3_FILER']}/etc/seaweedfs/filer.conf"
    with urllib.request.urlopen(urllib.request.Request(url, body, method="PUT"), timeout=10) as response:
        assert response.status == 201


def client(address: dict[str, str]) -> Any:
    """A client of the server at `address`."""
    return boto3.client(
        "s3",
        endpoint_url=address["AWS_ENDPOINT_URL"],
        aws_access_key_id=address["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=address["AWS_SECRET_ACCESS_KEY"],
        region_name=address["AWS_DEFAULT_REGION"],
    )


def _wait(server: subprocess.Popen, address: dict[str, str], log: Path) -> None:
    """Until an object can be written: the parts of the server come up one by one."""
    until = time.monotonic() + START_SECONDS
    while True:
        try:
            s3 = client(address)
            with suppress(s3.exceptions.BucketAlreadyExists):  # of a server that was started before
                s3.create_bucket(Bucket="bucket")
            s3.put_object(Bucket="bucket", Key="ready", Body=b"yes")
            return
        except (BotoCoreError, ClientError) as error:
            if server.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"SeaweedFS did not start: {error}\n{log.read_text()[-2000:]}") from None
        time.sleep(0.2)


def _free_ports() -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in PORTS]
        for free_socket in sockets:
            free_socket.bind(("127.0.0.1", 0))
        return [free_socket.getsockname()[1] for free_socket in sockets]
