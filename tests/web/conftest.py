"""A real Jupyter server with only our extension, on the real engine."""

from __future__ import annotations

import json
import os
from typing import Any

import pytest

# Its fixtures and hooks, for the tests here only: as a plugin they would act on the whole suite.
from pytest_jupyter.jupyter_server import *  # noqa: F403
from tornado.httpclient import HTTPClientError

from tests.conftest import PREFIX


@pytest.fixture
def volcopy_config() -> dict[str, Any]:
    """Settings of `Volcopy`; a module or test may add some."""
    return {}


@pytest.fixture
def jp_server_config(volcopy_config: dict[str, Any]) -> dict[str, Any]:
    return {
        "ServerApp": {
            "jpserver_extensions": {"jupyter_volcopy": True},
            "allow_unauthenticated_access": False,
        },
        "Volcopy": {
            "allowed_containers": [f"{PREFIX}-*", "volcopy-helper-*"],
            "allowed_volumes": [f"{PREFIX}-*"],
            "stall_timeout": 120.0,
            **volcopy_config,
        },
    }


@pytest.fixture
def service(jp_serverapp):
    """What stands behind the handlers."""
    made = jp_serverapp.web_app.settings["volcopy_service"]
    yield made
    made.close()


@pytest.fixture
def api(jp_fetch, service):
    """`await api("GET", "status", path="/x") -> response`; a refusal is returned, not raised."""

    async def fetch(method: str, *parts: str, body: Any = None, **more: Any) -> Any:
        headers = more.pop("headers", {})
        query = {name: str(value) for name, value in more.items() if name not in OWN}
        options = {name: value for name, value in more.items() if name in OWN}
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode()
        if method in ("PUT", "POST") and body is None:
            body = b""
        try:
            return await jp_fetch(
                "volcopy",
                "api",
                *parts,
                method=method,
                params=query,
                body=body,
                headers=headers,
                request_timeout=120,
                **options,
            )
        except HTTPClientError as refused:
            if refused.response is None:
                raise
            return refused.response

    return fetch


@pytest.fixture(scope="module")
def things(request, docker, image):
    """Name of a container and of a volume, at its `/data`, for a module; its `FILL` fills them."""
    name = f"{PREFIX}-things{os.urandom(3).hex()}"
    docker("volume", "create", name)
    docker(
        "run", "-d", "--name", name, "--network", "none", "-v", f"{name}:/data", image,
        "sleep", "9999",
    )  # fmt: skip
    docker.sh(name, request.module.FILL)
    yield name
    docker.raw("rm", "-fv", name)
    docker.raw("volume", "rm", "-f", name)


OWN = {"follow_redirects", "streaming_callback", "header_callback"}


def said(response: Any) -> Any:
    """The JSON of a response."""
    return json.loads(response.body)


@pytest.fixture
def error():
    """`error(response, status, code) -> body`: a refusal is as it should be."""

    def check(response: Any, status: int, code: str) -> dict[str, Any]:
        assert response.code == status, response.body
        found: dict[str, Any] = said(response)
        assert set(found) == {"code", "message", "hint", "context"}
        assert found["code"] == code, found
        return found

    return check
