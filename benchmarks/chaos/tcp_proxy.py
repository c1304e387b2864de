"""A TCP proxy in a process of its own: `python -m benchmarks.chaos.tcp_proxy TARGET PORT [HOST]`.

If it is killed, the connections to its target break. If it is stopped by SIGSTOP, they stall.
"""

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress


@contextmanager
def tcp_proxy(target: int, port: int, host: str = "127.0.0.1") -> Iterator[str]:
    """Forward a port of an address of this machine to one of the loopback address.

    Yields the process id of the proxy.
    """
    command = [sys.executable, "-m", "benchmarks.chaos.tcp_proxy", str(target), str(port), host]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"ready\n"
            yield str(process.pid)
        finally:
            process.kill()


async def _serve(target: int, port: int, host: str = "127.0.0.1") -> None:
    async def connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            server_reader, server_writer = await asyncio.open_connection("127.0.0.1", target)
        except ConnectionError:  # the server has stopped, so the client must not wait for it
            writer.close()
            return
        await asyncio.gather(_copy(reader, server_writer), _copy(server_reader, writer))

    server = await asyncio.start_server(connect, host, port)
    print("ready", flush=True)
    await server.serve_forever()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
    writer.close()


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1]), int(sys.argv[2]), *sys.argv[3:]))
