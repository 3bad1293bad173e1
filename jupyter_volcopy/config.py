"""Every setting, with one name everywhere.

`Volcopy` is set in `jupyter_server_config.py`, `jupyter_volcopy_config.py`, on a command line
(`--Volcopy.max_transfers=2`) or, for containers, by the environment (`VOLCOPY_MAX_TRANSFERS=2`).
It makes what the doors need: an engine, a `Copier`, the `Transfers`, the `Rules`.
"""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

from traitlets import (
    Bool,
    Dict,
    Float,
    Integer,
    List,
    TraitError,
    Unicode,
    validate,
)
from traitlets.config import LoggingConfigurable

from jupyter_volcopy.errors import NoSuchContainer

if TYPE_CHECKING:
    from collections.abc import Callable

    from jupyter_volcopy.core.background import Transfer, Transfers
    from jupyter_volcopy.core.copier import Copier
    from jupyter_volcopy.core.engine import Engine
    from jupyter_volcopy.core.model import Container
    from jupyter_volcopy.core.policy import Rules

__all__ = ["Volcopy"]

_GIB = 1 << 30


class Volcopy(LoggingConfigurable):
    """Settings of jupyter-volcopy."""

    engine_url = Unicode(
        "",
        help="Address of the Docker engine (unix://, tcp://, ssh://); empty: as the docker command "
        "finds it (DOCKER_HOST, the current context, the default socket).",
    ).tag(config=True)

    engines = Dict(
        {},
        help="More engines: names and addresses, or objects with address or context, and ca, cert, "
        "key for TLS. Their containers are called engine=NAME/CONTAINER.",
    ).tag(config=True)

    service_url = Unicode(
        "",
        help="Address of a Hub service to go through where there is no engine. The token comes "
        "from the environment: VOLCOPY_TOKEN or JUPYTERHUB_API_TOKEN.",
    ).tag(config=True)

    name_template = Unicode(
        "jupyter-{username}",
        help="How the containers of users are named, where the Hub does not say.",
    ).tag(config=True)

    container_user = Unicode(
        "",
        help="UID or UID:GID which Jupyter runs as in the containers; empty: NB_UID of the "
        "container, else its configured user.",
    ).tag(config=True)

    allowed_containers = List(
        Unicode(), ["*"], help="Shell patterns: containers of other names are out of reach."
    ).tag(config=True)

    allowed_volumes = List(
        Unicode(), ["*"], help="Shell patterns: volumes of other names are out of reach."
    ).tag(config=True)

    host_roots = List(
        Unicode(),
        [],
        help="Directories of the host which administrators may name in a copy by the Hub service.",
    ).tag(config=True)

    rules = List(
        Dict(),
        [],
        help="More that is allowed by the Hub service. Each: who (user, group:NAME or *), actions "
        "(of see, read, write), pattern (for names), kind (container or volume), path.",
    ).tag(config=True)

    shares = Dict(
        {},
        help="Folders of the engine's host which users of a Hub see as share=NAME:PATH. For each "
        "name: path, and lists read and write of users, group:NAME or *.",
    ).tag(config=True)

    owners_use_root = Bool(
        False,
        help="Owners of a container get the engine's own archive, in every state and as root. "
        "Only for sites without secrets in their images.",
    ).tag(config=True)

    allow_execute = Bool(
        False,
        help="Let programs be run in containers through the REST interface. Without it only those "
        "of a copy, exactly as it runs them (df, cat /proc/self/mountinfo ...).",
    ).tag(config=True)

    max_transfers = Integer(4, min=1, help="Transfers that run at the same time.").tag(config=True)

    max_transfers_per_user = Integer(
        100, min=1, help="Transfers of one user that may wait or run."
    ).tag(config=True)

    keep_finished = Float(
        3600.0, min=0, help="Seconds for which a finished transfer is remembered."
    ).tag(config=True)

    max_streams = Integer(
        16, min=1, help="Uploads and downloads by HTTP that may go on at the same time."
    ).tag(config=True)

    max_streams_per_user = Integer(8, min=1, help="Those of one user.").tag(config=True)

    max_calls = Integer(
        16, min=1, help="Short calls of the engine that may go on at the same time."
    ).tag(config=True)

    requests_per_second = Float(
        50.0, min=0, help="Requests of one user a second, on average; 0: any number."
    ).tag(config=True)

    stall_timeout = Float(
        60.0, min=1, help="Seconds without a byte moving after which a stream is broken off."
    ).tag(config=True)

    spool_dir = Unicode(
        "", help="Where streams wait; empty: the system's temporary directory."
    ).tag(config=True)

    spool_limit = Integer(
        20 * _GIB, min=1, help="Bytes of one download that may wait for a slow reader."
    ).tag(config=True)

    upload_limit = Integer(20 * _GIB, min=1, help="Bytes of one upload.").tag(config=True)

    max_entries = Integer(
        5_000_000, min=1, help="Files, directories and links of one transfer."
    ).tag(config=True)

    audit_file = Unicode(
        "",
        help="File for the audit lines of the Hub service (JSON, rotated); empty: its log.",
    ).tag(config=True)

    rescue_directory = Unicode(
        "",
        help="Directory of the host for what administrators rescue by the Hub service; empty: off.",
    ).tag(config=True)

    rescue_quota = Integer(10 * _GIB, min=1, help="Bytes kept there for one user.").tag(config=True)

    listing_budget = Integer(
        64 << 20,
        min=1,
        help="Bytes of an archive read at most for a listing where no program lists.",
    ).tag(config=True)

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        section = self.config.get(type(self).__name__, {})
        for name in self.trait_names(config=True):
            text = os.environ.get(f"VOLCOPY_{name.upper()}")
            if text is not None and name not in section and name not in settings:
                self.set_from_text(name, text)

    def set_from_text(self, name: str, text: str) -> None:
        """Set one setting from a text, as it stands in the environment.

        Raises:
            TraitError: it cannot have that value.
        """
        trait = self.traits()[name]
        if isinstance(trait, Unicode):
            setattr(self, name, text)
            return
        try:
            setattr(self, name, json.loads(text))
        except (ValueError, TraitError):
            if not isinstance(trait, List):
                raise TraitError(f"VOLCOPY_{name.upper()}={text!r} is not understood") from None
            setattr(self, name, [part.strip() for part in text.split(",") if part.strip()])

    @validate("host_roots")
    def _absolute(self, proposal: Any) -> Any:
        for root in proposal["value"]:
            if not root.startswith("/"):
                raise TraitError(f"a host root must be an absolute path, not {root!r}")
        return proposal["value"]

    @validate("shares")
    def _folders(self, proposal: Any) -> Any:
        for name, share in proposal["value"].items():
            plain = name.isascii() and name.replace("-", "").replace("_", "").isalnum()
            path = share.get("path") if isinstance(share, dict) else None
            if not plain or not isinstance(path, str) or not path.startswith("/"):
                raise TraitError(f"the share {name!r} needs a plain name and an absolute path")
            if set(share) - {"path", "read", "write"} or any(
                not isinstance(share.get(word, []), list) for word in ("read", "write")
            ):
                raise TraitError(f"the share {name!r} has path, and lists read and write")
        return proposal["value"]

    # --- what the doors need

    def make_engine(self) -> Engine:
        """The engine that is configured; nothing is connected yet.

        Raises:
            UsageError: its address makes no sense.
        """
        if not self.engine_url and self.service_url and not _has_socket():
            from jupyter_volcopy.core.service_engine import open_service

            return open_service(self.service_url, idle=self.stall_timeout)
        from jupyter_volcopy.core.discovery import open_engine
        from jupyter_volcopy.core.http import Timeouts

        timeouts = Timeouts(idle=self.stall_timeout)
        engine = open_engine(self.engine_url, timeouts=timeouts)
        if not self.engines:
            return engine
        from jupyter_volcopy.core.engines import Engines, open_named

        def named(name: str) -> Engine:
            if name not in self.engines:  # a request names what the site configured, nothing else
                raise NoSuchContainer(f"No such container: engine={name}/")
            return open_named(name, self.engines, timeouts=timeouts)

        return Engines(engine, named, listed=tuple(self.engines))

    def make_copier(self, engine: Engine | None = None) -> Copier:
        """A `Copier` on an engine, or on the configured one."""
        from jupyter_volcopy.core.copier import Copier

        return Copier(engine or self.make_engine())

    def make_transfers(self, ended: Callable[[Transfer], None] | None = None) -> Transfers:
        """The transfers of a server."""
        from jupyter_volcopy.core.background import Transfers

        return Transfers(
            most=self.max_transfers,
            keep=self.keep_finished,
            per_owner=self.max_transfers_per_user,
            ended=ended,
        )

    def make_rules(self, *, trusted: bool) -> Rules:
        """The site's rules.

        Args:
            trusted: everybody who gets here is trusted with the engine (a Jupyter server of one's
                own, whose socket is root).

        Raises:
            TraitError: a rule that makes no sense.
        """
        from jupyter_volcopy.core.policy import Action, Rule, Rules

        made = []
        for item in self.rules:
            try:
                made.append(
                    Rule(
                        who=str(item["who"]),
                        actions=frozenset(Action(word) for word in item["actions"]),
                        pattern=str(item["pattern"]),
                        kind=str(item.get("kind", "container")),
                        path=str(item.get("path", "/")),
                    )
                )
            except (KeyError, ValueError, TypeError) as problem:
                raise TraitError(f"the rule {item!r} makes no sense: {problem}") from problem
        made += self._share_rules(Action, Rule)
        return Rules(
            trusted=trusted,
            allowed_containers=tuple(self.allowed_containers),
            allowed_volumes=tuple(self.allowed_volumes),
            host_roots=tuple(self.host_roots),
            owners_use_root=self.owners_use_root,
            rules=tuple(made),
        )

    def _share_rules(self, action: Any, rule: Any) -> list[Any]:
        """What the declared shares allow."""
        from jupyter_volcopy.core.endpoint import SHARE_PREFIX

        made = []
        for name, share in self.shares.items():
            for word in ("read", "write"):
                for who in share.get(word, ()):
                    # who may write may also look at what is there
                    actions = {action.READ, action(word)}
                    made.append(
                        rule(str(who), frozenset(actions), SHARE_PREFIX + name, kind="volume")
                    )
        return made

    def acting_as(self, container: Container) -> str:
        """`uid[:gid]` as whom somebody acts who has only the rights of a container's user."""
        from jupyter_volcopy.core.guard import container_user

        return self.container_user or container_user(container)


def _has_socket() -> bool:
    """Whether the docker command would find an engine."""
    from jupyter_volcopy.core.discovery import find_address
    from jupyter_volcopy.errors import UsageError

    try:
        address, _ = find_address()
    except UsageError:
        return True  # to be said when it is used
    path = address.removeprefix("unix://")
    return not path.startswith("/") or os.path.exists(path)
