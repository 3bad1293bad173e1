"""The routes of the REST interface, in one place; `api.yaml` is their reference."""

from __future__ import annotations

import jupyter_volcopy.web.handlers_facts as facts
import jupyter_volcopy.web.handlers_files as files
import jupyter_volcopy.web.handlers_transfers as transfers
from jupyter_volcopy.web.handlers_base import Base, Nowhere

__all__ = ["ROUTES", "routes"]

ROUTES: list[tuple[str, type[Base]]] = [
    ("status", facts.Status),
    ("containers", facts.Containers),
    ("containers/{container}", facts.OneContainer),
    ("containers/{container}/mounts", facts.MountsOf),
    ("containers/{container}/forecast", facts.ForecastOf),
    ("containers/{container}/changes", facts.Changes),
    ("containers/{container}/execute", facts.Execute),
    ("containers/{container}/rescue", transfers.Rescue),
    ("{side}/{name}/entries", files.Entries),
    ("{side}/{name}/archive", files.Archive),
    ("{side}/{name}/file", files.File),
    ("image", facts.Images),
    ("volumes", facts.Volumes),
    ("volumes/{volume}", facts.OneVolume),
    ("volumes/{volume}/lease", transfers.LeaseOfVolume),
    ("volumes/{volume}/empty", transfers.EmptyVolume),
    ("leases/{id}", transfers.OneLease),
    ("errors/{id}", transfers.LateError),
    ("shares", facts.Shares),
    ("transfers", transfers.TransferList),
    ("transfers/{id}", transfers.OneTransfer),
    ("events", transfers.Events),
]
"""Path below the base and mixin; `{side}` is `containers` or `volumes`."""


def routes(base: str) -> list[tuple[str, type[Base]]]:
    """The routes as tornado wants them.

    Args:
        base: what they begin with, as `/volcopy/api/`.

    Returns:
        Pattern and mixin; a binding makes a handler of each mixin.
    """
    found = []
    for path, mixin in ROUTES:
        pattern = path.replace("{side}", "(containers|volumes)")
        while "{" in pattern:
            before, _, rest = pattern.partition("{")
            pattern = before + "([^/]+)" + rest.partition("}")[2]
        found.append((base.rstrip("/") + "/" + pattern, mixin))
    found.append((base.rstrip("/") + "/.*", Nowhere))
    return found
