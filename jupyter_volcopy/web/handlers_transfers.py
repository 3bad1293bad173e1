"""Transfers, their events, and leases of volumes.

An event is always the whole transfer as it is now, so a lost one costs nothing: who connects again
gets every transfer first.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

import jupyter_volcopy.web.metrics as metrics
from jupyter_volcopy.core.background import FINISHED, Transfer
from jupyter_volcopy.errors import UsageError
from jupyter_volcopy.web.handlers_base import Base, JsonBody, encoded
from jupyter_volcopy.web.streams import EventStream

__all__ = [
    "EmptyVolume",
    "Events",
    "LateError",
    "LeaseOfVolume",
    "OneLease",
    "OneTransfer",
    "Rescue",
    "TransferList",
]

_PERIOD = 0.25
_COMMENT_SECONDS = 15.0


class _Starting(JsonBody):
    """What starts a transfer.

    Attributes:
        depth: parts of its path below the base.
    """

    depth = 1

    def started(self, transfer: Transfer) -> None:
        """Answer with one that waits or runs now."""
        metrics.active(self.service.transfers.active)
        base = self.request.path.rstrip("/").rsplit("/", self.depth)[0]
        self.set_header("Location", f"{base}/transfers/{transfer.id}")
        self.reply(transfer.to_dict(), 201)


class TransferList(_Starting):
    """`transfers`: mine; start one, or plan one."""

    async def get(self) -> None:
        """Answer with all of this user's; with `brief` without their reports."""
        brief = self.flag("brief")
        owner = self.service.owner_filter(self.volcopy_user())

        def found() -> dict[str, Any]:
            listed = self.service.transfers.list(owner)
            return {"transfers": [one.to_dict(brief=brief) for one in listed]}

        await self.tell(found)

    async def post(self) -> None:
        """Start one (201), or say what it would do (200)."""
        wanted, user = self.body(), self.volcopy_user()
        dry = wanted.get("dry_run", False)
        if not isinstance(dry, bool):
            raise UsageError("dry_run must be true or false")
        if dry:
            self.reply(await self.call(lambda: encoded(self.service.plan(user, wanted))))
            return
        self.started(await self.call(self.service.start, user, wanted))


class Rescue(_Starting):
    """`containers/{c}/rescue`: save what its removal would lose, as a transfer."""

    depth = 3

    async def post(self, name: str) -> None:
        """Start it (201)."""
        wanted, user = self.body(), self.volcopy_user()
        self.started(await self.call(self.service.rescue, user, name, wanted))


class OneTransfer(JsonBody):
    """`transfers/{id}`: look, cancel, forget."""

    async def get(self, ident: str) -> None:
        """Answer with it."""
        owner = self.service.owner_filter(self.volcopy_user())
        await self.tell(lambda: self.service.transfers.get(ident, owner).to_dict())

    async def delete(self, ident: str) -> None:
        """Cancel one that is not over (202; with `now` at once), forget one that is (204)."""
        now = self.flag("now")
        transfers = self.service.transfers
        owner = self.service.owner_filter(self.volcopy_user())

        def stopped() -> Transfer | None:
            transfer = transfers.get(ident, owner)
            if transfer.state in FINISHED:
                transfers.forget(ident, owner)
                return None
            return transfers.stop(ident, owner, now=now)

        transfer = await self.service.bridge.in_own(stopped)
        if transfer is None:
            self.set_status(204)
            self.plain_headers()
            self.finish()
            return
        await self.tell(transfer.to_dict, 202)


class Events(Base):
    """`events`: what happens to the transfers of this user."""

    _track_activity = False  # listening is no use of the server

    async def get(self) -> None:
        """Send until the client goes away."""
        user = self.volcopy_user()
        owner = self.service.owner_filter(user)
        with self.service.listener(user):
            self.plain_headers()
            self.set_header("Content-Type", "text/event-stream")
            self.set_header("X-Accel-Buffering", "no")
            stream = EventStream(self, self.service.settings.stall_timeout)
            await stream.comment("volcopy")
            await self._follow(stream, owner)

    async def _follow(self, stream: EventStream, owner: str | None) -> None:
        sent: dict[str, Any] = {}
        quiet_since = time.monotonic()
        while True:
            listed = await self.service.bridge.in_own(self.service.transfers.list, owner)
            current = {one.id: one for one in listed}
            for ident in [ident for ident in sent if ident not in current]:
                del sent[ident]
                await stream.event("forgotten", encoded({"id": ident}))
                quiet_since = time.monotonic()
            for ident, transfer in current.items():
                mark = (
                    transfer.version,
                    transfer.state,
                    transfer.meter.entries,
                    transfer.meter.bytes,
                    transfer.cancel.asked,
                )
                if sent.get(ident) != mark:
                    sent[ident] = mark
                    whole = await self.service.bridge.in_own(_encoded, transfer)
                    await stream.event("transfer", whole)
                    quiet_since = time.monotonic()
            if time.monotonic() - quiet_since >= _COMMENT_SECONDS:
                await stream.comment("still here")
                quiet_since = time.monotonic()
            await asyncio.sleep(_PERIOD)


def _encoded(transfer: Transfer) -> bytes:
    return encoded(transfer.to_dict())


class LeaseOfVolume(JsonBody):
    """`volumes/{v}/lease`: a helper container for as long as somebody needs it."""

    async def post(self, name: str) -> None:
        """Make one."""
        create = self.body().get("create", False)
        if not isinstance(create, bool):
            raise UsageError("create must be true or false")
        lease = await self.call(self.service.lend, self.volcopy_user(), name, create=create)
        self.reply({"id": lease.id, "container": lease.container, "path": lease.path}, 201)


class OneLease(JsonBody):
    """`leases/{id}`: give it back."""

    async def delete(self, ident: str) -> None:
        """End it; with `failed`, a volume that was made for it goes, too."""
        failed = self.flag("failed")
        await self.call(self.service.give_back, self.volcopy_user(), ident, failed=failed)
        self.set_status(204)
        self.plain_headers()
        self.finish()


class LateError(Base):
    """`errors/{id}`: why a response with this `X-Volcopy-Request` broke off."""

    async def get(self, ident: str) -> None:
        """Answer with the error."""
        self.reply(self.service.why(self.volcopy_user(), ident).to_dict())


class EmptyVolume(JsonBody):
    """`volumes/{v}/empty`: remove everything in it."""

    async def post(self, name: str) -> None:
        """Do it."""
        user = self.volcopy_user()
        await self.call(lambda: self.service.guarded(user).empty_volume(name))
        self.set_status(204)
        self.plain_headers()
        self.finish()
