"""Who did what: one line of JSON per decision and per finished transfer (safety S36).

The lines go to the server's own log, level INFO, each beginning with `volcopy-audit `. They are
pure ASCII (JSON escapes), so no name with a newline or a control in it can forge a second line.
"""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jupyter_volcopy.core.background import Transfer
    from jupyter_volcopy.core.policy import Action, Decision, Target, User

__all__ = ["Audit", "Heard"]


class Audit:
    """Writes the lines.

    Args:
        log: a standard logger, or an adapter of one.
    """

    def __init__(self, log: logging.Logger | logging.LoggerAdapter[Any]) -> None:
        self._log = log

    def line(self, event: str, **facts: Any) -> None:
        """One line."""
        self._log.info("volcopy-audit %s", json.dumps({"event": event, **facts}, default=str))

    def transfer(self, transfer: Transfer) -> None:
        """A transfer is over."""
        report = transfer.report
        self.line(
            "transfer",
            user=transfer.owner,
            transfer=transfer.id,
            sources=transfer.sources,
            destination=transfer.destination,
            options=transfer.options,
            outcome=transfer.state,
            code=transfer.error.code if transfer.error is not None else None,
            files=report.files if report is not None else transfer.meter.entries,
            bytes=report.bytes if report is not None else transfer.meter.bytes,
            seconds=round(transfer.seconds, 3),
        )

    def heard(self) -> Heard:
        """To be told the decisions of one request or transfer."""
        return Heard(self)


class Heard:
    """Decisions of one request: a copy asks for every file, the log names each answer once."""

    def __init__(self, audit: Audit) -> None:
        self._audit = audit
        self._said: set[tuple[str, str, str, bool]] = set()

    def __call__(self, user: User, action: Action, target: Target, decision: Decision) -> None:
        """Be told one."""
        key = (action.value, target.kind, target.id or target.name, decision.allowed)
        if key in self._said:
            return
        self._said.add(key)
        self._audit.line(
            "decision",
            user=user.name,
            action=action.value,
            kind=target.kind,
            name=target.name,
            id=target.id,
            path=target.path,
            allowed=decision.allowed,
            reason=decision.reason,
            as_owner=decision.as_owner,
            **self.more(user),
        )

    def more(self, user: User) -> dict[str, Any]:
        """What else is known of who asks; a binding may say more."""
        return {}
