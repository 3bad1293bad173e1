"""Who may do what: one pure function, asked in one place (`guard.Guarded`).

`decide` looks at a user, an action, a target and the site's rules, and nothing else: no engine, no
Hub, no clock. Who somebody is and which containers the Hub lets them open is found out before, by
the door, and stands in `User`.

Three ways to be allowed, in this order:

1. `Rules.trusted`: whoever got here is the user of the machine already (the Jupyter server's own
   user, whose socket is root). Everything, within `allowed_containers` and `allowed_volumes`.
2. An administrator: every container and volume; host paths only within `host_roots`.
3. What the Hub says (`User.owned`, `reads`, `writes`) and what an extra `Rule` adds. Then the work
   is done with the rights of the container's own user, never as root (safety S15).

No rule, no right. A rule for one target never changes the answer for another.
"""

from __future__ import annotations

from fnmatch import fnmatchcase

from jupyter_volcopy.core.model import Record
from jupyter_volcopy.core.paths import clean
from jupyter_volcopy.core.record import Value, Words

__all__ = ["Action", "Decision", "Rule", "Rules", "Target", "User", "decide"]


class Action(str, Words):
    """What somebody wants to do with a target."""

    SEE = "see"
    READ = "read"
    WRITE = "write"


class User(Record, Value):
    """Somebody who asks.

    Attributes:
        name: of the account; unique.
        groups: names of groups.
        admin: may do everything that an administrator may.
        owned: ids (64 hex) of the containers of the user's own servers.
        reads, writes: ids of others' containers which the Hub lets the user open, and write to.
    """

    name: str
    groups: frozenset[str] = frozenset()
    admin: bool = False
    owned: frozenset[str] = frozenset()
    reads: frozenset[str] = frozenset()
    writes: frozenset[str] = frozenset()


class Target(Record, Value):
    """What it is about.

    Attributes:
        kind: `container`, `volume`, `host` (a path of the server's host) or `engine` (its own
            facts: version, sizes).
        id: of a container, 64 hex.
        name: of a container or volume; a rule's pattern is about this.
        path: absolute and clean, in the container or volume or on the host; "" for the whole.
    """

    kind: str
    name: str = ""
    id: str = ""
    path: str = ""


class Rule(Record, Value):
    """Something allowed beyond what the Hub says.

    Attributes:
        who: name of a user, `group:NAME`, or `*`.
        actions: what it allows; `write` does not include `read`.
        kind: kind of the targets it is about.
        pattern: shell pattern for their names.
        path: absolute; it holds for this path and all below.
    """

    who: str
    actions: frozenset[Action]
    pattern: str
    kind: str = "container"
    path: str = "/"

    def holds_for(self, user: User, action: Action, target: Target) -> bool:
        """Whether this rule allows it."""
        if self.kind != target.kind or not _matches(target.name, (self.pattern,)):
            return False
        group = self.who[6:] if self.who.startswith("group:") else None
        if self.who not in ("*", user.name) and group not in user.groups:
            return False
        if action is Action.SEE:
            return True
        return action in self.actions and _within(target.path, (self.path,))


class Rules(Value):
    """What a site allows.

    Attributes:
        trusted: everybody who got here is trusted with everything, within the next two.
        allowed_containers, allowed_volumes: shell patterns for names; nobody reaches others.
        host_roots: absolute directories of the host that administrators may name.
        owners_use_root: owners get the engine's own archive (every state, as root).
        rules: allowed beyond that.
    """

    trusted: bool = False
    allowed_containers: tuple[str, ...] = ("*",)
    allowed_volumes: tuple[str, ...] = ("*",)
    host_roots: tuple[str, ...] = ()
    owners_use_root: bool = False
    rules: tuple[Rule, ...] = ()


class Decision(Record, Value):
    """The answer.

    Attributes:
        allowed: it may be done.
        reason: why, a few words, for the log.
        as_owner: only with the rights of the container's own user.
    """

    allowed: bool
    reason: str
    as_owner: bool = False


def decide(user: User, action: Action, target: Target, rules: Rules) -> Decision:
    """Whether `user` may do `action` to `target`.

    Args:
        user: who, with what the Hub said.
        action: see, read or write.
        target: what; its path must be absolute and clean, as `paths.clean` makes it.
        rules: the site's.
    """
    if target.path and clean(target.path) != target.path:
        return Decision(False, "the path is not clean")
    allowed = {"container": rules.allowed_containers, "volume": rules.allowed_volumes}
    if not _matches(target.name, allowed.get(target.kind, ("*",))):
        return Decision(False, f"no allowed {target.kind}")
    if rules.trusted:
        return Decision(True, "trusted")
    if user.admin:
        if target.kind != "host" or _within(target.path, rules.host_roots):
            return Decision(True, "administrator")
        return Decision(False, "outside of the host's roots")
    if target.kind == "container" and target.id:
        if target.id in user.owned:
            return Decision(True, "owner", as_owner=not rules.owners_use_root)
        if target.id in user.writes and action is not Action.READ:
            return Decision(True, "may write to this server", as_owner=True)
        if target.id in user.reads and action is not Action.WRITE:
            return Decision(True, "may open this server", as_owner=True)
    if target.kind in ("container", "volume"):
        for rule in rules.rules:
            if rule.holds_for(user, action, target):
                return Decision(True, f"rule for {rule.who}", as_owner=target.kind == "container")
    return Decision(False, "no rule")


def _matches(name: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def _within(path: str, roots: tuple[str, ...]) -> bool:
    """Whether an absolute clean path is one of `roots` or lies below one; "" is everything."""
    for root in roots:
        top = clean(root)
        if top == "/" or path == top or path.startswith(top + "/"):
            return True
    return False
