"""Whose container is whose (safety S24, S25), against a Hub that is a few lines of HTTP."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from jupyter_volcopy.core.model import Container
from jupyter_volcopy.errors import AccessDenied, EngineUnreachable, UsageError
from jupyter_volcopy.web.hub_check import holes, missing_scopes, older
from jupyter_volcopy.web.hub_users import HubUsers, escaped


class FakeHub:
    """Answers /users by pages; `users` and `status` may be changed at any time."""

    def __init__(self) -> None:
        self.users: list[dict[str, Any]] = []
        self.status = 200
        self.asked = 0
        fake = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                fake.asked += 1
                body = json.dumps(fake.answer(self.path)).encode()
                self.send_response(fake.status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/hub/api"
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()

    def answer(self, path: str) -> Any:
        """What is said to a GET."""
        query = parse_qs(urlsplit(path).query)
        offset, limit = int(query["offset"][0]), int(query["limit"][0])
        end = offset + limit
        more = {"offset": end} if end < len(self.users) else None
        return {"items": self.users[offset:end], "_pagination": {"next": more}}

    def user(self, name: str, *groups: str, **servers: str) -> None:
        """A user; each server by name (`_` for the default one) and id of its container, "" for no state."""
        self.users.append(
            {
                "name": name,
                "groups": list(groups),
                "servers": {
                    "" if server == "_" else server: {
                        "ready": True,
                        "state": {"object_id": ident} if ident else {},
                    }
                    for server, ident in servers.items()
                },
            }
        )

    def close(self) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


@pytest.fixture
def hub() -> Iterator[FakeHub]:
    made = FakeHub()
    yield made
    made.close()


def box(name: str, ident: str) -> Container:
    return Container(ident * 64, name, "image", "running")


def users_of(hub: FakeHub, *boxes: Container, **options: Any) -> HubUsers:
    return HubUsers(hub.url, "token", lambda: list(boxes), **{"keep": 0.0, **options})


def owned(users: HubUsers, name: str, *scopes: str) -> frozenset[str]:
    return users.user({"name": name, "kind": "user", "scopes": scopes}).owned


def test_the_state_decides_not_the_name(hub: FakeHub) -> None:
    """Names that look alike: only ids count."""
    boxes = [box(f"jupyter-{name}", ident) for name, ident in (("a", "1"), ("a-b", "2"), ("a--b", "3"), ("a.b", "4"), ("A", "5"))]  # fmt: skip
    hub.user("a", _="2" * 64, b="1" * 64)
    hub.user("a-b", _="3" * 64)
    hub.user("a--b")
    hub.user("A", _="")
    hub.user("a.b", _="4" * 64)
    users = users_of(hub, *boxes)
    assert owned(users, "a") == {"1" * 64, "2" * 64}
    assert owned(users, "a-b") == {"3" * 64}
    assert owned(users, "a--b") == frozenset()
    assert owned(users, "a.b") == {"4" * 64}
    assert owned(users, "nobody") == frozenset()
    # `A` has no state and would be named as `a` is: what is another's by state is never theirs
    assert owned(users, "A") == frozenset()


def test_names_where_the_hub_gives_no_state(hub: FakeHub) -> None:
    hub.user("a-b", _="", gpu="")
    hub.user("x@y.z", _="")
    hub.user("A", _="")
    hub.user("a", _="")
    boxes = [
        box("jupyter-a-2db", "1"), box("jupyter-a-2db--gpu", "2"), box("jupyter-x-40y-2ez", "3"),
        box("jupyter-a", "4"), box("jupyter-a-b", "5"),
    ]  # fmt: skip
    users = users_of(hub, *boxes)
    assert owned(users, "a-b") == {"1" * 64, "2" * 64}
    assert owned(users, "x@y.z") == {"3" * 64}
    # two users would have this name: it is nobody's
    assert owned(users, "a") == owned(users, "A") == frozenset()
    assert owned(users_of(hub, *boxes, name_template=""), "a-b") == frozenset()
    assert escaped("A b/ü") == "a-20b-2f-c3-bc"


def test_a_container_that_two_claim_is_nobodys(hub: FakeHub) -> None:
    hub.user("a", _="1" * 64)
    hub.user("b", _="1" * 64)
    users = users_of(hub, box("jupyter-a", "1"))
    assert owned(users, "a") == owned(users, "b") == frozenset()
    hub.users.pop()
    assert owned(users, "a") == {"1" * 64}
    assert owned(users_of(hub), "a") == frozenset()  # its container is gone


def test_scopes(hub: FakeHub) -> None:
    hub.user("a", "g", _="1" * 64, gpu="2" * 64)
    hub.user("b", _="3" * 64)
    users = users_of(hub, box("x", "1"), box("y", "2"), box("z", "3"))

    def rights(*scopes: str, kind: str = "user") -> tuple[str, str, bool]:
        user = users.user({"name": "c", "kind": kind, "scopes": list(scopes)})
        short = ["".join(sorted(ident[0] for ident in ids)) for ids in (user.reads, user.writes)]
        return short[0], short[1], user.admin

    assert rights() == ("", "", False)
    assert rights("access:servers!user=a") == ("12", "", False)
    assert rights("access:servers!server=a/gpu", "custom:volcopy:write") == ("2", "2", False)
    assert rights("access:servers!server=a/") == ("1", "", False)
    assert rights("access:servers!group=g", "custom:volcopy:write!user=b") == ("12", "", False)
    assert rights("access:servers", "custom:volcopy:write!group=g") == ("123", "12", False)
    assert rights("custom:volcopy:write") == ("", "", False)
    assert rights("access:servers!service=volcopy", "access:servers!group=h") == ("", "", False)
    assert rights("custom:volcopy:admin!group=g") == ("", "", False)
    assert rights("custom:volcopy:admin") == ("", "", True)
    # a service that is called as a user is has nothing of that user's
    service = users.user({"name": "a", "kind": "service", "scopes": []})
    assert service.owned == frozenset() and service.name != "a"


def test_many_users_come_by_pages(hub: FakeHub) -> None:
    for number in range(450):
        hub.user(f"user{number}", "all", _=f"{number:064x}")
    boxes = [Container(f"{n:064x}", f"jupyter-user{n}", "i", "running") for n in range(450)]
    users = users_of(hub, *boxes, keep=60.0)
    assert owned(users, "user449") == {f"{449:064x}"}
    assert hub.asked == 3
    assert owned(users, "user0") == {f"{0:064x}"}
    assert hub.asked == 3  # kept
    assert len(users.targets(["group:all"])) == 450


def test_a_hub_that_is_away_allows_nothing(hub: FakeHub) -> None:
    hub.user("a", _="1" * 64)
    users = users_of(hub, box("x", "1"))
    assert owned(users, "a")
    hub.status = 503
    with pytest.raises(EngineUnreachable):
        owned(users, "a")
    hub.status = 403
    with pytest.raises(AccessDenied, match="who owns what"):
        owned(users, "a")
    hub.close()
    try:
        with pytest.raises(EngineUnreachable):
            owned(users, "a")
    finally:
        hub.server = ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler)
        hub.thread = threading.Thread(target=hub.server.serve_forever, daemon=True)
        hub.thread.start()


def test_words_for_whom(hub: FakeHub) -> None:
    hub.user("a", "g", _="1" * 64, gpu="2" * 64)
    hub.user("b", _="3" * 64)
    hub.user("c")
    users = users_of(hub, box("x", "1"), box("y", "2"), box("z", "3"))

    def labels(*words: str) -> list[str]:
        return [server.label for server, _ in users.targets(words)]

    assert labels("all") == ["a", "a/gpu", "b"]
    assert labels("group:g") == labels("user:a") == ["a", "a/gpu"]
    assert labels("a") == ["a"] and labels("a/gpu", "b") == ["a/gpu", "b"]
    assert labels("user:c") == []
    for wrong in ("group:none", "user:none", "none"):
        with pytest.raises(UsageError):
            labels(wrong)


def test_what_is_missing() -> None:
    full = ["list:users", "read:users", "read:servers", "admin:server_state"]
    assert missing_scopes(full) == []
    assert missing_scopes(full[:2]) == ["read:servers", "admin:server_state"]
    assert missing_scopes(["admin:users", "admin:servers"]) == ["admin:server_state"]
    assert older("5.4.4", "5.4.5") and not older("6.1.1", "5.4.5") and not older("", "5.4.5")
    assert older("20.10.24+dfsg1", "29.5.1")


def test_holes_of_engines() -> None:
    """Those of safety S22, by version."""

    def names(version: str) -> str:
        return " ".join(name for _, name, _ in holes(version))

    assert names("29.5.1") == ""
    assert names("20.10.24+dfsg1") == "CVE-2024-41110 CVE-2026-34040 CVE-2026-41567, -41568, -42306"
    assert "CVE-2021-41089, -41091" in names("20.10.8")
    assert "CVE-2019-14271" in names("19.03.0") and "14271" not in names("18.09.0")
    assert "CVE-2018-15664" in names("18.09.0")
