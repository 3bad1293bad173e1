"""`api.yaml` is the reference: it names exactly the routes, and a running server keeps to it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import schemathesis
import yaml
from hypothesis import HealthCheck, Phase, given, settings
from openapi_spec_validator import validate
from tornado.web import RequestHandler

import jupyter_volcopy.web
from jupyter_volcopy.web.handlers import ROUTES, routes
from jupyter_volcopy.web.handlers_base import VERBS
from jupyter_volcopy.web.order import OPTIONS
from tests.web.running import RunningServer

FILE = Path(jupyter_volcopy.web.__file__).parent / "api.yaml"
DOCUMENT: dict[str, Any] = yaml.safe_load(FILE.read_text())
FILL = "mkdir -p /d/sub; echo text > /d/f; ln -s f /d/link"


def test_it_is_sound():
    validate(DOCUMENT)


def test_it_names_exactly_the_routes():
    said = {
        (path.lstrip("/"), verb)
        for path, item in DOCUMENT["paths"].items()
        for verb in item
        if verb in VERBS and "servers" not in item  # those are the Hub service's: tests/hub
    }
    there = {
        (path, verb)
        for path, mixin in ROUTES
        for verb in VERBS
        if getattr(mixin, verb) is not getattr(RequestHandler, verb)
    }
    assert said == there
    assert len({pattern for pattern, _ in routes("/x/")}) == len(ROUTES) + 1


def test_it_names_exactly_the_options():
    assert set(DOCUMENT["components"]["schemas"]["Options"]["properties"]) == set(OPTIONS)


@pytest.fixture(scope="module")
def server(things, tmp_path_factory):
    """What is asked of it is made up, so it reaches nothing but those."""
    made = RunningServer(
        tmp_path_factory.mktemp("server"),
        requests_per_second=0,
        allowed_containers=[things],
        allowed_volumes=[things],
    )
    yield made.start()
    made.stop()


schemathesis.serializer.alias("application/x-tar", "application/octet-stream")
SCHEMA = schemathesis.openapi.from_dict(
    {
        **DOCUMENT,
        "security": [],
        # events never end; those with servers of their own are the Hub service's
        "paths": {
            path: item
            for path, item in DOCUMENT["paths"].items()
            if path != "/events" and "servers" not in item
        },
    }
)
CHECKS = [
    schemathesis.checks.CHECKS.get_one(name)
    for name in (
        "not_a_server_error",
        "status_code_conformance",
        "content_type_conformance",
        "response_schema_conformance",
        "response_headers_conformance",
    )
]


OPERATIONS = {found.ok().label: found.ok() for found in SCHEMA.get_all_operations()}


# By a name of its own each: tests of one name are run once by pytest-xdist.
@pytest.mark.parametrize("operation", sorted(OPERATIONS))
def test_a_server_keeps_to_it(operation, server, things):
    @settings(
        max_examples=6,
        derandomize=True,
        deadline=None,
        database=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=OPERATIONS[operation].as_strategy())
    def keeps_to_it(case):
        turn = len(case.query or {}) + len(str(case.body))
        for key in ("container", "volume", "name"):
            if turn % 4 and key in (case.path_parameters or {}):
                case.path_parameters[key] = things
        if turn % 3 == 0 and "path" in (case.query or {}):
            case.query["path"] = ("/d", "/d/f", "/d/link", "/d/.", "/none")[turn % 5]
        response = case.call(
            base_url=server.api.rstrip("/"),
            headers={"Authorization": f"token {server.token}"},
            timeout=150,
        )
        if response.status_code in (503, 504):  # the engine of a busy machine, not the interface
            return
        case.validate_response(response, checks=CHECKS)

    keeps_to_it()
