"""Answers: the server itself, containers, volumes, what is mounted, shared, lost.

With `?exact=1` every item of a list of containers or volumes carries `exact`: the whole value for a
`ServiceEngine` (`core.service_facts`), beside what is shown to people.
"""

from __future__ import annotations

import base64
import binascii
import re
from typing import Any, ClassVar

from jupyter_volcopy._version import __version__
from jupyter_volcopy.core.guard import Guarded
from jupyter_volcopy.core.model import Container, Volume
from jupyter_volcopy.core.policy import Action, Target, decide
from jupyter_volcopy.core.removal import WAYS
from jupyter_volcopy.core.service_facts import to_wire, without_secrets
from jupyter_volcopy.errors import AccessDenied, NotFound, UsageError
from jupyter_volcopy.web.handlers_base import Base, JsonBody, encoded

__all__ = [
    "Changes",
    "Containers",
    "Execute",
    "ForecastOf",
    "Images",
    "MountsOf",
    "OneContainer",
    "OneVolume",
    "Shares",
    "Status",
    "Volumes",
]

# What the core runs to look around (see `reach`, `room`, `removal`): programs that read.
_LOOKING = (
    ("cat", "/proc/self/mountinfo"),
    ("df", "-P", "-k"),
    ("ls", "-A", "--"),
    ("true",),
)


_IMAGE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:@/-]{0,4000}")


class _Facts(Base):
    """What the classes here share."""

    def guarded(self) -> Guarded:
        """The engine as this user may use it; in a thread."""
        return self.service.guarded(self.volcopy_user())

    @staticmethod
    def shown(item: Container | Volume, exact: bool) -> dict[str, Any]:
        """As people and programs see it."""
        found = item.to_dict()
        if exact:
            found["exact"] = to_wire(without_secrets(item) if isinstance(item, Container) else item)
        return found


class Status(_Facts):
    """`status`: versions, the engine, the user, what the user may do."""

    async def get(self) -> None:
        """Answer; 503 where there is no engine."""
        user = self.volcopy_user()

        def ask() -> dict[str, Any]:
            info = self.guarded().info()
            everything = decide(user, Action.SEE, Target("engine"), self.service.rules).allowed
            root = self.service.root
            several = self.service.engines() if everything else {}
            return {
                "version": __version__,
                "api": 1,
                "engine": info.to_dict(),
                "engines": [{"name": name, "answers": well} for name, well in several.items()],
                "user": {"name": user.name, "admin": user.admin, "groups": sorted(user.groups)},
                "may": {
                    "engine": everything,
                    "local_files": root is not None,
                    "hidden_files": root is not None and root.hidden(),
                    "execute": self.service.settings.allow_execute,
                },
                "limits": {
                    "upload": self.service.settings.upload_limit,
                    "transfers": self.service.settings.max_transfers,
                },
                "exact": to_wire(info),
            }

        self.reply(await self.call(lambda: encoded(ask())))


class Containers(_Facts):
    """`containers`: those the user may see."""

    async def get(self) -> None:
        """Answer."""
        exact = self.flag("exact")

        def ask() -> dict[str, Any]:
            return {"containers": [self.shown(c, exact) for c in self.guarded().containers()]}

        self.reply(await self.call(lambda: encoded(ask())))


class OneContainer(_Facts):
    """`containers/{c}`: one, with its mounts."""

    async def get(self, name: str) -> None:
        """Answer."""
        exact = self.flag("exact")
        self.reply(await self.call(lambda: self.shown(self.guarded().container(name), exact)))


class MountsOf(_Facts):
    """`containers/{c}/mounts`: every place where data lie that are not the image's."""

    async def get(self, name: str) -> None:
        """Answer."""
        sizes = self.flag("sizes")

        def ask() -> dict[str, Any]:
            from jupyter_volcopy.core.insight import mounts

            found = mounts(self.guarded(), name, sizes=sizes)
            return {"mounts": [place.to_dict() for place in found]}

        self.reply(await self.call(lambda: encoded(ask())))


class ForecastOf(_Facts):
    """`containers/{c}/forecast`: what a removal would lose and what it would keep."""

    async def get(self, name: str) -> None:
        """Answer."""
        how = self.choice("how", WAYS, "rm")
        caches = not self.flag("no_caches")

        def ask() -> dict[str, Any]:
            from jupyter_volcopy.core.removal import forecast

            return forecast(self.guarded(), name, how, caches=caches).to_dict()

        self.reply(await self.call(lambda: encoded(ask())))


class Changes(_Facts):
    """`containers/{c}/changes`: the writable layer."""

    async def get(self, name: str) -> None:
        """Answer."""
        self.reply(
            await self.call(lambda: encoded({"changes": to_wire(self.guarded().changes(name))}))
        )


class Execute(JsonBody, _Facts):
    """`containers/{c}/execute`: run a program; without `allow_execute` only those of a copy."""

    actions: ClassVar[dict[str, str]] = {"post": "execute"}
    limit: ClassVar[int] = 8 << 20  # nearly all of it one text, the program's standard input

    async def post(self, name: str) -> None:
        """Run it and answer with what it said."""
        wanted = self.body()
        argv, user = wanted.get("argv"), wanted.get("user")
        if not isinstance(argv, list) or not argv or not all(isinstance(a, str) for a in argv):
            raise UsageError("argv must be a list of texts")
        if any("\0" in item for item in argv) or not (user is None or isinstance(user, str)):
            raise UsageError("argv and user must be texts without NUL")
        try:
            stdin = base64.b64decode(str(wanted.get("stdin", "")), validate=True)
        except (binascii.Error, ValueError) as problem:
            raise UsageError("stdin must be base64") from problem

        def run() -> dict[str, Any]:
            guarded = self.guarded()
            container = guarded.container(name)
            if not self.service.settings.allow_execute and not _of_a_copy(argv):
                raise AccessDenied(
                    "programs cannot be run in containers here",
                    hint="the site may allow it (Volcopy.allow_execute)",
                )
            done = guarded.execute(container.id, argv, user=user, stdin=stdin)
            return {
                "exit_code": done.exit_code,
                "stdout": base64.b64encode(done.stdout).decode("ascii"),
                "stderr": base64.b64encode(done.stderr).decode("ascii"),
            }

        self.reply(await self.call(lambda: encoded(run())))


def _of_a_copy(argv: list[str]) -> bool:
    """Whether it is one of the programs that the core runs for a copy, exactly as it runs them.

    They look around, with at most one path; `--durable` flushes; `--backup` keeps a file as NAME~
    where no archive reaches it (see `again`). The last two can do nothing that an upload cannot.
    """
    if argv == ["sync"]:
        return True
    if argv[:2] == ["ln", "-f"] and len(argv) == 4 and argv[2].startswith("/"):
        return argv[3] == argv[2] + "~"
    for known in _LOOKING:
        rest = argv[len(known) :]
        if tuple(argv[: len(known)]) == known and len(rest) <= 1:
            return not rest or rest[0].startswith("/")
    return False


class Images(_Facts):
    """`image?name=`: what an image declares."""

    async def get(self) -> None:
        """Answer with its id and its volumes; its environment may hold secrets."""
        name = self.query("name", None)
        if not _IMAGE.fullmatch(name) or "//" in name:
            raise NotFound(f"No such image: {name}")

        def ask() -> dict[str, Any]:
            found = self.guarded().image(name)
            config = found.get("Config") or {}
            kept = {key: config[key] for key in ("Volumes", "User", "WorkingDir") if key in config}
            return {
                "Id": found.get("Id"),
                "RepoTags": found.get("RepoTags") or [],
                "Created": found.get("Created"),
                "Config": kept,
            }

        self.reply(await self.call(lambda: encoded(ask())))


class Volumes(_Facts):
    """`volumes`: those the user may see, and who mounts them."""

    async def get(self) -> None:
        """Answer."""
        sizes, exact = self.flag("sizes"), self.flag("exact")

        def ask() -> dict[str, Any]:
            from jupyter_volcopy.core.insight import volumes

            found = []
            for facts in volumes(self.guarded(), sizes=sizes):
                item = facts.to_dict()
                if exact:
                    item["exact"] = to_wire(facts.volume)
                found.append(item)
            return {"volumes": found}

        self.reply(await self.call(lambda: encoded(ask())))


class OneVolume(_Facts):
    """`volumes/{v}`: one; `raw` is what the engine says of it."""

    async def get(self, name: str) -> None:
        """Answer."""

        def ask() -> dict[str, Any]:
            from jupyter_volcopy.core.paths import query

            guarded = self.guarded()
            raw = guarded.json("GET", f"/volumes/{query(name)}")
            found = {one.name: one for one in guarded.volumes()}.get(name)
            shown = self.shown(found, exact=False) if found is not None else {"name": name}
            kept = ("Name", "Driver", "CreatedAt", "Labels", "Options", "Scope")
            return {**shown, "raw": {key: raw.get(key) for key in kept}}

        self.reply(await self.call(lambda: encoded(ask())))


class Shares(_Facts):
    """`shares`: which containers see the same data."""

    async def get(self) -> None:
        """Answer."""
        alone = self.flag("alone")

        def ask() -> dict[str, Any]:
            from jupyter_volcopy.core.insight import shares

            return {"shares": [one.to_dict() for one in shares(self.guarded(), alone=alone)]}

        self.reply(await self.call(lambda: encoded(ask())))
