"""Serve MLflow's web pages and API with a login: `python -m ops.mlflow_web --port 5000`.

A client of the API can change the champion, and can replace the code of a model, which runs when the model is
loaded. MLflow's own `basic-auth` leaves some routes open. Here every request needs the login. The database
address may hold a password, so it is never on a command line.
"""

import argparse
import base64
import os
import secrets
import sys
from collections.abc import Mapping
from http import HTTPStatus

import uvicorn
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from core import paths
from core.step_cli import print_redacted_traceback
from ops import private_files
from ops.ports import LOOPBACK, allowed_hosts

USER = "admin"
ARTIFACTS = "mlflow-artifacts:/"  # clients send files to this server


class LoginMiddleware:
    """Refuses a request with a foreign Host, a foreign Origin or no login.

    Args:
        app: the application to protect.
        hosts: allowed values of the header Host.
        user, password: the login.
    """

    def __init__(self, app: ASGIApp, hosts: frozenset[str], user: str, password: str) -> None:
        self._app, self._hosts = app, hosts
        self._origins = {f"http://{host}" for host in hosts}
        self._credentials = base64.b64encode(f"{user}:{password}".encode())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        error_response = None if scope["type"] == "lifespan" else self._check_request(dict(scope["headers"]))
        if error_response is None:
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        else:
            await error_response(scope, receive, send)

    def _check_request(self, headers: Mapping[bytes, bytes]) -> PlainTextResponse | None:
        """Return the refusal of a request, None if it is allowed. Checking Host prevents DNS rebinding."""
        host = headers.get(b"host", b"").decode("latin-1")
        if host not in self._hosts:
            message = f"Host {host!r} is not allowed; open http://{sorted(self._hosts)[0]}\n"
            return PlainTextResponse(message, HTTPStatus.MISDIRECTED_REQUEST)
        origin = headers.get(b"origin", b"").decode("latin-1")
        if origin and origin not in self._origins:
            message = f"Origin {origin!r} is not allowed; use MLflow's own pages\n"
            return PlainTextResponse(message, HTTPStatus.FORBIDDEN)
        scheme, _, credentials = headers.get(b"authorization", b"").partition(b" ")
        if scheme.lower() != b"basic" or not secrets.compare_digest(credentials, self._credentials):
            challenge = {"WWW-Authenticate": 'Basic realm="Undercurrent: MLflow"'}
            return PlainTextResponse(
                "Login required; `make up` prints user and password\n", HTTPStatus.UNAUTHORIZED, challenge
            )
        return None


def get_password() -> str:
    """Return the user's password: UNDERCURRENT_MLFLOW_PASSWORD, else one that the first call generates."""
    chosen = os.environ.get("UNDERCURRENT_MLFLOW_PASSWORD")
    return chosen or private_files.get_password(paths.home() / "mlflow" / "login.json", USER)


def mlflow_app(artifacts: str | None = None) -> ASGIApp:
    """Return MLflow's server over the registry of the steps. Sets MLflow's environment variables.

    Args:
        artifacts: Where the server keeps the files of runs, such as s3://bucket/mlflow. None: in the home.
    """
    from mlflow.server import constants

    uri = paths.tracking_uri()
    os.environ |= {
        constants.BACKEND_STORE_URI_ENV_VAR: uri,
        constants.REGISTRY_STORE_URI_ENV_VAR: uri,
        constants.ARTIFACT_ROOT_ENV_VAR: ARTIFACTS,
        constants.SERVE_ARTIFACTS_ENV_VAR: "true",
        constants.ARTIFACTS_DESTINATION_ENV_VAR: artifacts or str(paths.home() / "mlflow" / "artifacts"),
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # pages only, no job queue
        "_MLFLOW_SGI_NAME": "uvicorn",
    }
    from mlflow.server.handlers import initialize_backend_stores

    initialize_backend_stores(uri, uri, ARTIFACTS)
    from mlflow.server.fastapi_app import app

    return app


def main() -> None:
    """Serve until the process ends."""
    sys.excepthook = print_redacted_traceback  # the database's address may hold a password
    parser = argparse.ArgumentParser(
        prog="python -m ops.mlflow_web", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--port", type=int, required=True, help="port to listen on")
    parser.add_argument("--host", default=LOOPBACK, help="address to listen on")
    parser.add_argument("--allow-host", help="a value of the header Host, such as mlflow:5000")
    parser.add_argument("--artifacts", help="address of the artifacts, such as s3://bucket/mlflow")
    options = parser.parse_args()
    port = options.port
    hosts = allowed_hosts(port) | ({options.allow_host} if options.allow_host else set())
    protected_app = LoginMiddleware(mlflow_app(options.artifacts), hosts, USER, get_password())
    uvicorn.run(protected_app, host=options.host, port=port, proxy_headers=False)


if __name__ == "__main__":
    main()
