"""A real S3 server for tests: SeaweedFS, one process on loopback, gone with its `with` block."""

import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import boto3
from botocore.exceptions import BotoCoreError, ClientError

WEED = Path(sys.executable).parent / "weed"
KEYS = {"accessKey": "test", "secretKey": "test-secret"}
SERVERS = ("master.port", "volume.port", "filer.port", "s3.port")
PORTS = [flag for name in SERVERS for flag in (name, f"{name}.grpc")]
START_SECONDS = 60
START_ATTEMPTS = 3


@contextmanager
def seaweedfs(folder: Path) -> Iterator[dict[str, str]]:
    """Run the server with its data in `folder`; gives the AWS_… variables that lead to it.

    Raises:
        RuntimeError: It did not start. The message holds the end of its log.
    """
    config = folder / "s3.json"
    identities = [{"name": "test", "credentials": [KEYS], "actions": ["Admin", "Read", "Write", "List"]}]
    config.write_text(json.dumps({"identities": identities}), encoding="utf-8")
    server, address = _start(folder, config)
    try:
        yield address
    finally:
        server.kill()
        server.wait()


def _start(folder: Path, config: Path) -> tuple[subprocess.Popen, dict[str, str]]:
    """Start the server. Another process can take a free port first, so it is tried again."""
    for attempt in range(START_ATTEMPTS):
        ports = _free_ports(len(PORTS))
        server = _spawn(folder, config, ports)
        address = {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{ports[PORTS.index('s3.port')]}",
            "AWS_ACCESS_KEY_ID": KEYS["accessKey"],
            "AWS_SECRET_ACCESS_KEY": KEYS["secretKey"],
            "AWS_DEFAULT_REGION": "us-east-1",
        }
        try:
            _wait(server, address, folder / "log")
        except RuntimeError:
            server.kill()
            server.wait()
            if attempt == START_ATTEMPTS - 1:
                raise
        else:
            break
    return server, address


def _spawn(folder: Path, config: Path, ports: list[int]) -> subprocess.Popen:
    flags = [f"-{flag}={port}" for flag, port in zip(PORTS, ports, strict=True)]
    options = [
        "-s3",
        f"-s3.config={config}",
        "-s3.port.iceberg=0",
        "-volume.max=20",
        "-master.volumeSizeLimitMB=64",
    ]
    location = [f"-dir={folder}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1"]
    with (folder / "log").open("w") as log:
        return subprocess.Popen(
            [WEED, "server", *location, *options, *flags], stdout=log, stderr=log, cwd=folder
        )


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
            s3.create_bucket(Bucket="bucket")
            s3.put_object(Bucket="bucket", Key="ready", Body=b"yes")
            return
        except (BotoCoreError, ClientError) as error:
            if server.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"SeaweedFS did not start: {error}\n{log.read_text()[-2000:]}") from None
        time.sleep(0.2)


def _free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for free_socket in sockets:
            free_socket.bind(("127.0.0.1", 0))
        return [free_socket.getsockname()[1] for free_socket in sockets]
