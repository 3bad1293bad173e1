"""What `volcopy handout` and `volcopy collect` share: whom, through what, and how it is said.

With an engine here, whose a container is can only be told by its name: `--to 'jupyter-*'` are names
or patterns, and `{user}` is what the pattern of `--name` finds. Through a Hub service (`--service`,
or VOLCOPY_SERVICE_URL where no engine is) it is the Hub that knows: `all`, `group:NAME`,
`user:NAME`, `USER/SERVER`.
"""

from __future__ import annotations

import json
import os
import time
from argparse import ArgumentParser, Namespace
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode, urlsplit

from jupyter_volcopy.errors import (
    EngineUnreachable,
    NoSuchContainer,
    UsageError,
    VolcopyError,
    error_from_dict,
    show,
)

if TYPE_CHECKING:
    import http.client

    from jupyter_volcopy.cli.door import Door
    from jupyter_volcopy.core.control import Cancel, Meter
    from jupyter_volcopy.core.engine import Engine
    from jupyter_volcopy.core.many import Goal, Limits

__all__ = ["Remote", "add_limits", "goals", "limits", "remote", "reported", "say", "status"]

_PAUSE = 0.3
_SIGNS = {"done": "+", "same": "=", "kept": "~", "failed": "!"}


def add_limits(parser: ArgumentParser) -> None:
    """Options about how much and how long."""
    group = parser.add_argument_group("limits, for each container")
    group.add_argument("--max-bytes", type=int, default=1 << 30, metavar="N", help="default 1 GiB")
    group.add_argument("--max-entries", type=int, default=10_000, metavar="N", help="default 10000")
    group.add_argument("--max-seconds", type=float, default=300.0, metavar="N", help="default 300")
    group.add_argument(
        "--at-once", type=int, default=4, metavar="N", help="containers at a time (default 4)"
    )
    parser.add_argument(
        "--name",
        default="jupyter-{username}",
        metavar="TEMPLATE",
        help="how containers are named, without a Hub (default jupyter-{username})",
    )


def limits(args: Namespace) -> Limits:
    """The limits that were asked for."""
    from jupyter_volcopy.core.many import Limits

    if min(args.max_bytes, args.max_entries, args.max_seconds, args.at_once) <= 0:
        raise UsageError("a limit must be more than 0")
    return Limits(args.max_bytes, args.max_entries, args.max_seconds, args.at_once)


def goals(engine: Engine, words: list[str], template: str) -> list[Goal]:
    """Containers by name or shell pattern, each with the user its name tells.

    Raises:
        NoSuchContainer: a word fits none.
        UsageError: a word only a Hub understands.
    """
    from fnmatch import fnmatchcase

    from jupyter_volcopy.core.many import Goal

    before, _, after = template.partition("{username}")
    everyone = engine.containers()
    found: dict[str, Goal] = {}
    for word in words:
        if word == "all" or word.startswith(("group:", "user:")):
            raise UsageError(
                f"{word} is for a Hub to know",
                hint="name its service (--service URL), or containers by name or pattern",
            )
        chosen = [item for item in everyone if fnmatchcase(item.name, word)]
        if not chosen:
            raise NoSuchContainer(f"No such container: {word}")
        for item in chosen:
            user = item.name
            if user.startswith(before) and user.endswith(after) and len(user) > len(before + after):
                user = user[len(before) : len(user) - len(after)]
            found[item.id] = Goal(item.name, item.id, user)
    return sorted(found.values(), key=lambda goal: goal.label)


class Remote:
    """The Hub service, for the calls that are no engine's.

    Args:
        url: as for `dcp --service`.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise UsageError(
                f"{url!r} is no address of a service",
                hint="write http://HOST:PORT/services/volcopy/",
            )
        self._secure = parts.scheme == "https"
        self._host, self._port = parts.hostname, parts.port
        path = parts.path.rstrip("/")
        self._base = path if path.endswith("/api") else path + "/api"
        token = os.environ.get("VOLCOPY_TOKEN") or os.environ.get("JUPYTERHUB_API_TOKEN") or ""
        self._headers = {"Authorization": f"token {token}"}

    def _open(self) -> http.client.HTTPConnection:
        import http.client

        if self._secure:
            return http.client.HTTPSConnection(self._host, self._port, timeout=600)
        return http.client.HTTPConnection(self._host, self._port, timeout=600)

    def call(
        self,
        method: str,
        path: str,
        query: list[tuple[str, str]] | None = None,
        body: Any = None,
        into: str = "",
    ) -> Any:
        """One call; the JSON it answers.

        Args:
            body: JSON-able, or an open binary file.
            into: local file for the answer, instead.

        Raises:
            VolcopyError: what the service says.
            EngineUnreachable: it does not answer.
        """
        import http.client
        import shutil

        headers = dict(self._headers)
        data = body
        if body is not None and not hasattr(body, "read"):
            data = json.dumps(body).encode("ascii")
            headers["Content-Type"] = "application/json"
        elif body is not None:
            headers["Content-Length"] = str(os.fstat(body.fileno()).st_size)
        url = f"{self._base}/{path}" + (f"?{urlencode(query)}" if query else "")
        connection = self._open()
        try:
            connection.request(method, url, body=data, headers=headers)
            answer = connection.getresponse()
            if into and answer.status == 200:
                with open(into, "wb") as file:
                    shutil.copyfileobj(answer, file, 1 << 20)
                return None
            raw = answer.read()
        except (OSError, http.client.HTTPException) as error:
            raise EngineUnreachable(
                f"the service does not answer: {error}", hint="is its address right?"
            ) from None
        finally:
            connection.close()
        try:
            said = json.loads(raw or b"null")
        except ValueError:
            raise VolcopyError(f"the service answers {answer.status}, not in JSON") from None
        if answer.status >= 400:
            raise error_from_dict(said if isinstance(said, dict) else {})
        return said

    def over(self, ident: str, meter: Meter, cancel: Cancel) -> dict[str, Any]:
        """A transfer, once it is over; a cancel is passed on."""
        told = False
        while True:
            found: dict[str, Any] = self.call("GET", f"transfers/{ident}")
            if found["state"] in ("done", "failed", "cancelled"):
                return found
            progress = found["progress"]
            meter.entries, meter.bytes = progress["entries"], progress["bytes"]
            meter.entries_total = progress["entries_total"]
            if cancel.asked and not told:
                self.call("DELETE", f"transfers/{ident}")
                told = True
            time.sleep(_PAUSE)


def remote(args: Namespace, door: Door) -> Remote | None:
    """The service that is meant, if one is."""
    from jupyter_volcopy.core.service_engine import service_meant

    url = args.service or ("" if args.host or args.context else service_meant())
    return Remote(url) if url else None


def reported(transfer: dict[str, Any]) -> dict[str, Any]:
    """The report of a transfer that is over.

    Raises:
        VolcopyError: it has none.
    """
    found: dict[str, Any] | None = transfer["report"]
    if found is None:
        raise error_from_dict(transfer["error"] or {})
    return found


def say(door: Door, report: dict[str, Any], *, as_json: bool) -> None:
    """A line for each container, then the counts."""
    if as_json:
        door.json(report)
        return
    from jupyter_volcopy.text import size

    for item in report["outcomes"]:
        parts = [f"{_SIGNS[item['state']]} {item['label']}"]
        if item["error"] is not None:
            hint = item["error"]["hint"]
            parts.append(item["error"]["message"] + (f" ({hint})" if hint else ""))
        else:
            hashes = [one for one in item["files"] if one["action"] == "collected"]
            kept = sum(one["action"] == "kept" for one in item["files"])
            done = sum(one["action"] in ("new", "replaced", "beside") for one in item["files"])
            if item["state"] == "same":
                parts.append("nothing left to do")
            elif hashes:
                parts.append(f"{item.get('folder', '')}  {item.get('sha256', '')}")
            else:
                parts.append(f"{done} files, {size(item['bytes'])}")
            if kept:
                parts.append(f"{kept} edited, kept; the new version lies beside")
        parts.append(item["time"])
        door.out(show("  ".join(parts)))
    counts = report["counts"]
    door.out(", ".join(f"{counts[word]} {word}" for word in ("done", "same", "kept", "failed")))


def status(report: dict[str, Any]) -> int:
    """The exit status for a report."""
    return 1 if report["counts"]["failed"] else 0
