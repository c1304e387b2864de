"""MLflow's web pages and API behind a login: `python -m ops.mlflow_pages --port 5000`.

Whoever reaches the API can move the champion, and can overwrite a model's code, which then runs in whoever
loads it. MLflow's own `basic-auth` lets some routes through without a login; here nothing is answered without
it. The address of the database is never on a command line, for it may hold a password.
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

from contracts import place
from contracts.step import tell_without_credentials
from ops import private
from ops.ports import LOOPBACK, own_hosts

USER = "admin"
ARTIFACTS = "mlflow-artifacts:/"  # where clients send files: to this server


class Login:
    """Lets a request through that names one of our addresses, comes from our own pages, and logs in."""

    def __init__(self, app: ASGIApp, hosts: frozenset[str], user: str, password: str) -> None:
        self._app, self._hosts = app, hosts
        self._origins = {f"http://{host}" for host in hosts}
        self._login = base64.b64encode(f"{user}:{password}".encode())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        refusal = None if scope["type"] == "lifespan" else self._refusal(dict(scope["headers"]))
        if refusal is None:
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        else:
            await refusal(scope, receive, send)

    def _refusal(self, headers: Mapping[bytes, bytes]) -> PlainTextResponse | None:
        """Why a request is refused: foreign Host (DNS rebinding), foreign Origin or no login; else None."""
        host = headers.get(b"host", b"").decode("latin-1")
        if host not in self._hosts:
            why = f"Host {host!r} is refused; open http://{sorted(self._hosts)[0]}\n"
            return PlainTextResponse(why, HTTPStatus.MISDIRECTED_REQUEST)
        origin = headers.get(b"origin", b"").decode("latin-1")
        if origin and origin not in self._origins:
            why = f"Refused: the request comes from a page of {origin!r}; use MLflow's own pages.\n"
            return PlainTextResponse(why, HTTPStatus.FORBIDDEN)
        scheme, _, login = headers.get(b"authorization", b"").partition(b" ")
        if scheme.lower() != b"basic" or not secrets.compare_digest(login, self._login):
            asked = {"WWW-Authenticate": 'Basic realm="Undercurrent: MLflow"'}
            return PlainTextResponse("Log in; `make up` says how.\n", HTTPStatus.UNAUTHORIZED, asked)
        return None


def password() -> str:
    """The user's password, made up on the first call."""
    return private.password(place.home() / "mlflow" / "login.json", USER)


def mlflow_app() -> ASGIApp:
    """MLflow's server over the registry that the steps write to; its settings are in the environment."""
    from mlflow.server import constants

    uri = place.tracking_uri()
    os.environ |= {
        constants.BACKEND_STORE_URI_ENV_VAR: uri,
        constants.REGISTRY_STORE_URI_ENV_VAR: uri,
        constants.ARTIFACT_ROOT_ENV_VAR: ARTIFACTS,
        constants.SERVE_ARTIFACTS_ENV_VAR: "true",
        constants.ARTIFACTS_DESTINATION_ENV_VAR: str(place.home() / "mlflow" / "artifacts"),
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # no queue of jobs: we only show pages
        "_MLFLOW_SGI_NAME": "uvicorn",
    }
    from mlflow.server.handlers import initialize_backend_stores

    initialize_backend_stores(uri, uri, ARTIFACTS)
    from mlflow.server.fastapi_app import app

    return app


def main() -> None:
    """Serve until ended."""
    sys.excepthook = tell_without_credentials  # the database's address may hold a password
    arguments = argparse.ArgumentParser(prog="python -m ops.mlflow_pages", description=__doc__)
    arguments.add_argument("--port", type=int, required=True)
    port = arguments.parse_args().port
    login = Login(mlflow_app(), own_hosts(port), USER, password())
    uvicorn.run(login, host=LOOPBACK, port=port, proxy_headers=False)


if __name__ == "__main__":
    main()
