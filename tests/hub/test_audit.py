"""The audit's file, and what the service says when it starts; without a Hub."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from jupyter_volcopy.core.discovery import open_engine
from jupyter_volcopy.core.engine import Engine
from jupyter_volcopy.core.policy import Action, Decision, Target, User
from jupyter_volcopy.errors import EngineUnreachable
from jupyter_volcopy.web.hub_audit import HubAudit
from jupyter_volcopy.web.hub_check import check

LOG = logging.getLogger("volcopy-test-audit")


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="ascii").splitlines()]


def test_no_name_forges_a_line(tmp_path: Path) -> None:
    audit = HubAudit(str(tmp_path / "audit.log"), LOG)
    evil = '/x\n{"event": "decision", "user": "boss", "allowed": true}\r\u2028\x1b[2J\udcff'
    heard = audit.heard()
    for _ in range(3):  # a copy asks for every file: the answer stands there once
        heard(
            User("a", groups=frozenset()),
            Action.READ,
            Target("container", "c", "1" * 64, evil),
            Decision(False, "not yours"),
        )
    audit.line("refused", path=evil)
    audit.close()
    first, second = lines(tmp_path / "audit.log")
    assert first["event"] == "decision" and first["path"] == evil and not first["allowed"]
    assert second["event"] == "refused" and second["path"] == evil
    assert list(audit.recent) == [first, second]


def test_rotation(tmp_path: Path) -> None:
    path = tmp_path / "logs" / "audit.log"
    audit = HubAudit(str(path), LOG, most=4000, kept=3)
    for number in range(200):
        audit.line("transfer", number=number, user="x" * 50)
    audit.close()
    files = sorted(path.parent.iterdir())
    assert [file.name for file in files] == [path.name + end for end in ("", ".1", ".2", ".3")]
    assert all(file.stat().st_size <= 4000 for file in files)
    kept = [line["number"] for file in (*files[:0:-1], files[0]) for line in lines(file)]
    assert kept == list(range(200 - len(kept), 200)) and len(kept) > 100  # the newest, in order
    assert {file.stat().st_mode & 0o777 for file in files} == {0o600}
    again = HubAudit(str(path), LOG)  # append-only: what is there stays
    again.line("transfer", number=200)
    again.close()
    assert [line["number"] for line in lines(path)][-2:] == [199, 200]


class Stand:
    """What the check looks at: a Hub's answers, and a real engine or none."""

    def __init__(self, engine: Engine | None, version: str, *scopes: str) -> None:
        self._engine = engine
        self._said = {"/": {"version": version}, "/user": {"scopes": list(scopes)}}
        self.users = self

    def get(self, path: str) -> dict[str, Any]:
        return self._said[path]

    def engine(self) -> Engine:
        if self._engine is None:
            raise EngineUnreachable("no engine at /var/run/docker.sock")
        return self._engine


@pytest.fixture
def engine() -> Iterator[Engine]:
    opened = open_engine()
    yield opened
    opened.close()


def said(stand: Stand) -> dict[str, int]:
    found: Any = check(stand)  # type: ignore[arg-type]
    return {text: level for level, text in found}


def test_what_the_check_says(
    engine: Engine, container: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each finding is a sentence with what to paste where; nothing is said where all is well."""
    name = container("created", "-v", "/var/run/docker.sock:/var/run/docker.sock")
    for setting in ("JUPYTERHUB_HOST", "JUPYTERHUB_COOKIE_HOST_PREFIX_ENABLED"):
        monkeypatch.delenv(setting, raising=False)
    bad = said(Stand(engine, "5.4.4", "list:users"))
    text = "\n".join(bad)
    assert "JupyterHub 5.4.4 has known holes; use 5.4.5 or newer" in text
    assert '"services": ["volcopy"]' in text and "admin:server_state" in text
    assert "c.JupyterHub.subdomain_host = " in text
    assert "c.JupyterHub.cookie_host_prefix_enabled = True" in text
    assert f"the container {name} has the engine's socket" in text
    (role,) = [level for found, level in bad.items() if "volcopy-service" in found]
    assert role == logging.ERROR

    monkeypatch.setenv("JUPYTERHUB_HOST", "https://hub.example.org")
    monkeypatch.setenv("JUPYTERHUB_COOKIE_HOST_PREFIX_ENABLED", "1")
    needed = ("list:users", "read:users", "read:servers", "admin:server_state")
    good = said(Stand(None, "6.1.1", *needed))
    assert good.pop("JupyterHub 6.1.1, all scopes there") == logging.INFO
    (found,) = good.items()
    assert "needs the engine's socket" in found[0] and found[1] == logging.ERROR
