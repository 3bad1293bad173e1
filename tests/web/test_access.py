"""Who gets in, what a browser may do with an answer, limits, the log, metrics."""

from __future__ import annotations

import json
import logging
import re
import time
from types import SimpleNamespace
from typing import ClassVar

import pytest
from jupyter_server.auth.authorizer import Authorizer
from tornado.web import RequestHandler

from jupyter_volcopy.core.policy import Rules
from jupyter_volcopy.web import service as service_module
from jupyter_volcopy.web.handlers import ROUTES, routes
from jupyter_volcopy.web.handlers_base import VERBS
from tests.web.conftest import said
from tests.web.test_transfers import over, start

EVERY = [
    (path.replace("{side}", "containers"), verb)
    for path, mixin in ROUTES
    for verb in VERBS
    if getattr(mixin, verb) is not getattr(RequestHandler, verb)
]


def parts(path: str) -> list[str]:
    return re.sub(r"\{\w+\}", "thing", path).split("/")


@pytest.mark.parametrize("volcopy_config", [{}], ids=["closed"])
async def test_nobody_gets_in_without_credentials(api, jp_serverapp, error):
    """Also where the server as a whole is lenient about it."""
    for lenient in (False, True):
        jp_serverapp.web_app.settings["allow_unauthenticated_access"] = lenient
        for path, verb in [*EVERY, ("no/such/route", "get")]:
            response = await api(
                verb.upper(),
                *parts(path),
                path="/x",
                headers={"Authorization": ""},
                follow_redirects=False,
            )
            assert response.code in (302, 403), (path, verb, response.code)
            wrong = await api(
                verb.upper(),
                *parts(path),
                path="/x",
                headers={"Authorization": "token wrong"},
                follow_redirects=False,
            )
            assert wrong.code in (302, 403), (path, verb)
            if verb != "head" and response.code == 403:
                error(response, 403, "denied")


class Nobody(Authorizer):
    """Asked, refuses, and remembers what it was asked."""

    asked: ClassVar[list[tuple[str, str]]] = []

    def is_authorized(self, handler, user, action, resource):
        self.asked.append((action, resource))
        return False


async def test_every_route_asks_the_authorizer(api, jp_serverapp, error, jp_web_app):
    authorizer = Nobody(parent=jp_serverapp, identity_provider=jp_serverapp.identity_provider)
    jp_web_app.settings["authorizer"] = authorizer
    for path, verb in EVERY:
        Nobody.asked.clear()
        response = await api(verb.upper(), *parts(path), path="/x")
        assert response.code == 403, (path, verb, response.code)
        (asked,) = Nobody.asked
        plain = "read" if verb in ("get", "head") else "write"
        assert asked == ("execute" if path.endswith("execute") else plain, "volcopy"), (path, verb)


async def test_an_upload_is_refused_before_its_body(
    api, jp_serverapp, jp_web_app, service, container
):
    """The decision is made in `prepare`: nothing of the body is kept anywhere."""
    jp_web_app.settings["authorizer"] = Nobody(
        parent=jp_serverapp, identity_provider=jp_serverapp.identity_provider
    )
    made = []
    original = service.upload
    service.upload = lambda: made.append(original()) or made[-1]
    name = container("created")
    response = await api("PUT", "containers", name, "file", path="/x", body=b"x" * 100_000)
    assert response.code == 403 and made == []


async def test_a_browser_must_send_xsrf(jp_serverapp, http_server_client, jp_base_url, service):
    """A logged-in browser has a cookie and no token header."""
    token = jp_serverapp.identity_provider.token
    page = await http_server_client.fetch(f"{jp_base_url}api/status?token={token}")
    cookies = {c.split("=")[0]: c.split(";")[0] for c in page.headers.get_list("Set-Cookie")}
    login = next(value for key, value in cookies.items() if key.startswith("username-"))

    async def fetch(method, path, **more):
        return await http_server_client.fetch(
            f"{jp_base_url}volcopy/api/{path}",
            method=method,
            raise_error=False,
            headers={"Cookie": login},
            **more,
        )

    assert (await fetch("GET", "containers")).code == 200
    for method, path in (
        ("POST", "transfers"),
        ("PUT", "containers/x/file?path=/x"),
        ("PUT", "containers/x/archive?path=/x"),
        ("POST", "containers/x/execute"),
        ("POST", "volumes/x/empty"),
        ("POST", "volumes/x/lease"),
    ):
        refused = await fetch(method, path, body=b"{}")
        assert refused.code == 403 and "_xsrf" in json.loads(refused.body)["message"], path
    for path in ("transfers/x", "leases/x"):
        assert (await fetch("DELETE", path)).code == 403


async def test_no_answer_is_a_page(api, container, docker):
    name = container()
    docker.sh(name, "echo '<script>alert(1)</script>' > /evil.html")
    for response in (
        await api("GET", "containers"),
        await api("GET", "nowhere"),
        await api("GET", "containers", "no-such"),
    ):
        assert response.headers["Content-Type"] == "application/json"
        assert "default-src 'none'" in response.headers["Content-Security-Policy"]
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert response.headers["Cache-Control"] == "no-store"
    for route in ("file", "archive"):
        response = await api("GET", "containers", name, route, path="/evil.html")
        assert response.headers["Content-Disposition"].startswith("attachment;")
        assert response.headers["Content-Security-Policy"].startswith("sandbox; default-src 'none'")
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert "html" not in response.headers["Content-Type"]


async def test_a_request_names_no_engine(api, container, service):
    """Fields and parameters that would are passed over or refused (safety S32)."""
    name = container("created")
    before = service.engine()
    response = await api(
        "GET",
        "containers",
        name,
        engine="tcp://127.0.0.1:1",
        host="tcp://127.0.0.1:1",
        DOCKER_HOST="tcp://127.0.0.1:1",
        headers={"X-Docker-Host": "tcp://127.0.0.1:1"},
    )
    assert response.code == 200 and service.engine() is before


@pytest.mark.parametrize("volcopy_config", [{"upload_limit": 100_000}], ids=["small"])
async def test_uploads_have_a_limit(api, container, docker, error):
    name = container()
    for route in ("file", "archive"):
        response = await api(
            "PUT",
            "containers",
            name,
            route,
            path="/tmp/x",
            body=b"x" * 200_000,
            headers={"Expect": "100-continue"},
        )
        error(response, 413, "limit")
    assert docker.sh(name, "ls -A /tmp") == ""
    response = await api("PUT", "containers", name, "file", path="/tmp/x", body=b"x" * 100_000)
    assert response.code == 201


@pytest.mark.parametrize(
    "volcopy_config", [{"max_transfers_per_user": 1, "max_transfers": 1}], ids=["one"]
)
async def test_transfers_have_a_number(api, container, docker, error):
    name = container()
    docker.sh(name, "dd if=/dev/zero of=/big bs=1048576 count=1 seek=6000 2>/dev/null")
    begun = said(await start(api, f"{name}:/big", "."))
    error(await start(api, f"{name}:/etc/passwd", "."), 429, "too-many")
    await api("DELETE", "transfers", begun["id"], now=1)
    await over(api, begun["id"])
    assert (await start(api, f"{name}:/etc/passwd", ".")).code == 201


@pytest.mark.parametrize("volcopy_config", [{"max_entries": 5}], ids=["few"])
async def test_transfers_have_a_size(api, container, docker, jp_root_dir):
    """By what the site allows, whatever the request asks for; and by what it asks for."""
    name = container()
    docker.sh(name, "mkdir /d; cd /d; touch 1 2 3 4 5 6; echo 12345678 > /f")
    for source, options in (
        ("/d", {}),
        ("/d", {"max_entries": 1_000_000}),
        ("/f", {"max_bytes": 5}),
    ):
        done = await over(api, said(await start(api, f"{name}:{source}", ".", **options))["id"])
        assert done["state"] == "failed" and done["error"]["code"] == "limit", done
    assert list(jp_root_dir.iterdir()) == []


@pytest.mark.parametrize("volcopy_config", [{"requests_per_second": 1.0}], ids=["slow"])
async def test_requests_have_a_rate(api, error, monkeypatch):
    """Four seconds' worth at once, by a clock that stands."""
    now = time.monotonic()
    monkeypatch.setattr(service_module, "time", SimpleNamespace(monotonic=lambda: now))
    codes = []
    for _ in range(12):
        response = await api("GET", "transfers")
        codes.append(response.code)
        if response.code == 429:
            error(response, 429, "too-many")
            assert response.headers["Retry-After"]
    assert codes == [200] * 4 + [429] * 8


@pytest.mark.parametrize("volcopy_config", [{"max_streams_per_user": 1}], ids=["one"])
async def test_streams_have_a_number(api, service, container, docker, error):
    name = container()
    with service.stream(_somebody(service)):
        response = await api("GET", "containers", name, "file", path="/etc/passwd")
        error(response, 429, "too-many")
    assert (await api("GET", "containers", name, "file", path="/etc/passwd")).code == 200


def _somebody(service):
    from jupyter_volcopy.core.policy import User
    from jupyter_volcopy.web.server import _own_name

    return User(_own_name(), admin=True)


async def test_programs_are_not_run_unless_allowed(api, container, error, service):
    name = container()
    error(
        await api("POST", "containers", name, "execute", body={"argv": ["sh", "-c", "id"]}),
        403,
        "denied",
    )
    error(
        await api("POST", "containers", name, "execute", body={"argv": ["df", "-P", "-k", "-x"]}),
        403,
        "denied",
    )
    looked = said(
        await api("POST", "containers", name, "execute", body={"argv": ["df", "-P", "-k", "/"]})
    )
    assert looked["exit_code"] == 0
    service.settings.allow_execute = True
    ran = said(await api("POST", "containers", name, "execute", body={"argv": ["id", "-u"]}))
    assert ran["exit_code"] == 0
    for wrong in ({"argv": "id"}, {"argv": []}, {"argv": [1]}, {"argv": ["id"], "stdin": "?"}):
        error(await api("POST", "containers", name, "execute", body=wrong), 400, "usage")


async def test_audit_and_metrics(api, container, docker, caplog, jp_fetch, jp_root_dir):
    name = container()
    docker.sh(name, 'printf x > "/tmp/a\nvolcopy-audit forged"')
    with caplog.at_level(logging.INFO):
        begun = said(await start(api, f"{name}:/tmp", "."))
        await over(api, begun["id"])
        await api("GET", "containers", name, "file", path="/tmp/a\nvolcopy-audit forged")
        await api("GET", "containers", name, "file", path="/none")
    lines = [r.getMessage() for r in caplog.records if r.getMessage().startswith("volcopy-audit ")]
    found = [json.loads(line.removeprefix("volcopy-audit ")) for line in lines]
    assert all("\n" not in line for line in lines)
    decisions = [item for item in found if item["event"] == "decision"]
    assert any(item["name"] == name and item["allowed"] for item in decisions)
    (over_line,) = [item for item in found if item["event"] == "transfer"]
    assert over_line["outcome"] == "done" and over_line["files"] == 1
    metrics = (await jp_fetch("metrics")).body.decode()
    assert re.search(r'volcopy_transfers_total\{state="done"\} [1-9]', metrics)
    assert re.search(r'volcopy_errors_total\{code="no-such-path"\} [1-9]', metrics)
    assert re.search(r'volcopy_bytes_total\{way="download"\} [1-9]', metrics)
    assert "volcopy_transfer_seconds_bucket" in metrics


def audit(caplog) -> list[dict]:
    """The lines of the audit."""
    said = [record.getMessage().partition("volcopy-audit ") for record in caplog.records]
    return [json.loads(line) for before, mark, line in said if mark and not before]


async def test_every_refusal_is_in_the_audit(
    api, container, service, caplog, jp_serverapp, jp_web_app
):
    """By the policy before a transfer begins; by the authorizer; and of nobody at all."""
    name = container("created")
    service.rules = Rules(trusted=True, allowed_containers=("x-*",))
    with caplog.at_level(logging.INFO):
        await start(api, f"{name}:/x", ".")
        (line,) = [one for one in audit(caplog) if one["event"] == "decision"]
        assert (line["name"], line["action"], line["allowed"]) == (name, "see", False)
        caplog.clear()
        jp_web_app.settings["authorizer"] = Nobody(
            parent=jp_serverapp, identity_provider=jp_serverapp.identity_provider
        )
        await api("PUT", "containers", name, "file", path="/secret", body=b"x")
        await api("GET", "status", headers={"Authorization": ""}, follow_redirects=False)
        named, nobody = (one for one in audit(caplog) if one["event"] == "refused")
    assert (named["method"], named["action"]) == ("PUT", "write") and named["user"]
    assert named["path"].endswith(f"/{name}/file") and named["remote"]
    assert nobody["user"] == "" and nobody["method"] == "GET"


async def test_the_token_is_in_no_log_and_no_answer(api, container, caplog, jp_serverapp):
    token = jp_serverapp.identity_provider.token
    name = container("created")
    with caplog.at_level(logging.INFO):
        for response in (
            await api("GET", "status"),
            await api("GET", "containers", name, exact=1),
            await api("GET", "containers", "no-such"),
            await api("POST", "transfers", body={"source": f"{name}:/no", "destination": "."}),
        ):
            assert token.encode() not in response.body
    ours = [r.getMessage() for r in caplog.records if r.name.startswith(("Volcopy", "jupyter_vol"))]
    assert not any(token in line for line in ours)


async def test_errors_hold_no_host_paths(api, container, docker, jp_root_dir, service, error):
    name = container("running", "--read-only")
    response = await api("PUT", "containers", name, "file", path="/x", body=b"x")
    found = error(response, 409, "read-only")
    assert "overlay" not in json.dumps(found)
    broken = service.guarded

    def mistake(user):
        raise ZeroDivisionError(str(jp_root_dir))

    service.guarded = mistake
    response = await api("GET", "containers")
    found = error(response, 500, "error")
    assert str(jp_root_dir) not in json.dumps(found) and "Zero" not in json.dumps(found)
    service.guarded = broken


async def test_out_of_reach_is_not_there(api, service, container, volume, error):
    """Whatever is asked of it, the answer is that of something that does not exist."""
    name, kept = container("created"), volume()
    service.rules = Rules(trusted=True, allowed_containers=("x-*",), allowed_volumes=("x-*",))
    ask = {"source": f"{name}:/x", "destination": "."}
    error(await api("POST", "transfers", body=ask), 404, "no-such-container")
    ask = {"source": f"volume={kept}:/x", "destination": "."}
    error(await api("POST", "transfers", body=ask), 404, "no-such-volume")
    error(await api("GET", "volumes", kept), 404, "no-such-volume")
    error(await api("POST", "volumes", kept, "lease", body={}), 404, "no-such-volume")
    error(await api("POST", "volumes", kept, "empty", body={}), 404, "no-such-volume")
    error(await api("GET", "volumes", kept, "entries", path="/"), 404, "no-such-volume")
    assert said(await api("GET", "volumes"))["volumes"] == []


async def test_leases(api, service, volume, docker, error):
    name = volume()
    lease = said(await api("POST", "volumes", name, "lease", body={}))
    assert docker.inspect(lease["container"])["State"]["Status"] == "created"
    found = await api("GET", "containers", lease["container"], "entries", path=lease["path"])
    assert said(found)["entries"] == []
    assert (await api("DELETE", "leases", lease["id"])).code == 204
    assert docker.raw("inspect", lease["container"]).returncode
    error(await api("DELETE", "leases", lease["id"]), 404, "not-found")
    lease = said(await api("POST", "volumes", name, "lease", body={}))
    for one in service._leases.values():
        one.used -= 100_000
    service.tick()
    assert docker.raw("inspect", lease["container"]).returncode


def test_each_route_is_there_once():
    patterns = [pattern for pattern, _ in routes("/volcopy/api/")]
    assert len(set(patterns)) == len(patterns)
