"""Cases of the same kind as the table's, drawn at random: trees, path forms, options, states of the container.

Case N of seed S is always the same, so a case that differs can be run again alone by its name.
"""

from __future__ import annotations

import random

from conformance import C, D, F, H, L, P, Case

NAMES = ("a", "b", "c", "d", "e e", "-f", "é", "g:h", "x" * 120, ".i", "..j", "k.")
GROUPS = ("run",) * 6 + ("stopped", "created", "paused", "user", "mounts", "mounts")
PLACES = {"mounts": ("/w", "/bind", "/vol")}
MODES = (0o644, 0o600, 0o755, 0o444, 0, 0o4755, 0o2750, 0o666)
DIR_MODES = (0o755, 0o700, 0o711, 0o1777, 0o555, 0o2775)


class Draw:
    """One case: a tree on the side that is read, another where it is written, and arguments that name parts of them."""

    def __init__(self, seed):
        self.r = random.Random(seed)

    def tree(self, side):
        """Nodes, each below directories that come before it; `side` is the key of its own absolute paths."""
        r, nodes, dirs, files, seen = self.r, [], [""], [], set()
        for _ in range(r.randint(1, 9)):
            path = r.choice(dirs) + r.choice(NAMES)
            if path in seen:
                continue
            seen.add(path)
            ids = {"uid": r.choice((0, 0, 1000, 7)), "gid": r.choice((0, 0, 1000, 8))}
            when = r.choice((1_000_000_000, 0, 1_234_567_890.5, 2_000_000_001, 4_000_000_000))
            kind = r.choice("ffffdddddllllhp")
            if (
                kind == "h" and files
            ):  # of none with set-id bits: docker cp loses them here, we do not
                nodes.append(H(path, r.choice(files)))
            elif kind == "p":
                nodes.append(
                    r.choice(
                        (P(path, 0o640, **ids), C(path))
                        if side == "W"
                        else (P(path, 0o640, **ids),)
                    )
                )
            elif kind == "d":
                nodes.append(D(path, r.choice(DIR_MODES), mtime=when, **ids))
                dirs.append(path + "/")
            elif kind == "l":
                nodes.append(
                    L(
                        path,
                        self.target(path, sorted(seen), side),
                        ids["uid"],
                        ids["gid"],
                        mtime=when,
                    )
                )
            else:
                size = r.choice((0, 1, 511, 512, 513, 10_240, 70_000))
                nodes.append(
                    F(
                        path,
                        bytes(r.getrandbits(8) for _ in range(16)) * (size // 16)
                        + b"z" * (size % 16),
                        r.choice(MODES),
                        mtime=when,
                        **ids,
                    )
                )
                if not nodes[-1].mode & 0o6000:
                    files.append(path)
        return nodes

    def target(self, path, seen, side):
        r = self.r
        near, up = r.choice([*seen, r.choice(NAMES)]), "../" * path.count("/")
        return r.choice(
            (
                up + near,
                up + near,
                up + near + "/",
                f"{{{side}}}/{near}",
                "nowhere",
                ".",
                "..",
                "./" + up + near,
                "../" * 3 + near,
                path.rpartition("/")[2],
            )
        )

    def path(self, nodes, *, new):
        """A path in (or nearly in) a tree, spelled in one of the ways people do."""
        r = self.r
        known = [n.path for n in nodes] or ["a"]
        links = [n.path for n in nodes if n.kind == "l"]
        base = r.choice(known + links * 2)
        drawn = r.random()
        if new and drawn < 0.3:
            base = r.choice(
                (
                    r.choice(NAMES) + "new",
                    base + "/new",
                    base.rpartition("/")[0] + "/new",
                    "no/such/new",
                )
            )
        elif drawn < 0.4:
            base = r.choice(
                ("", ".", base + "/" + r.choice(NAMES), "./" + base, base + "/..", "x/../" + base)
            )
        base = base.lstrip("/") or "."
        return base + r.choice(("",) * 5 + ("/", "/", "/.", "//", "/./"))

    def case(self, name):
        r = self.r
        group = r.choice(GROUPS)
        at = r.choice(PLACES.get(group, ("/w",)))
        host, ctr = self.tree("H"), self.tree("W")
        options = [o for o in ("-a", "-L", "-q") if r.random() < (0.25 if o != "-q" else 0.05)]
        options = ["--follow-link" if o == "-L" and r.random() < 0.3 else o for o in options]
        kind = r.choices(("to", "from", "out", "in"), (8, 8, 2, 2))[0]
        extra = {}
        if kind == "to":
            source, dest = self.path(host, new=False), "{C}:{W}/" + self.path(ctr, new=True)
            if not source or source.startswith("-") or ":" in source.partition("/")[0]:
                source = "./" + source
            if r.random() < 0.1:
                source = "{H}/" + source
        elif kind == "from":
            source, dest = "{C}:{W}/" + self.path(ctr, new=False), self.path(host, new=True)
            if not dest or dest.startswith("-") or ":" in dest.partition("/")[0]:
                dest = "./" + dest
        elif kind == "out":
            source, dest, host = "{C}:{W}/" + self.path(ctr, new=False), "-", ()
            extra["tar_out"] = True
        else:
            source, dest = "-", "{C}:{W}/" + self.path(ctr, new=True)
            extra["stdin"], host = tuple(n for n in self.tree("H") if n.kind != "s"), ()
            extra["pack"] = r.choice(("w", "w", "w:gz", "w:bz2", "w:xz"))
        umask = r.choice((0o022, 0o022, 0o077, 0o002))
        return Case(
            name, (*options, source, dest), tuple(host), tuple(ctr), group, at, umask=umask, **extra
        )


def draw(count, seed):
    """`count` cases of a seed, named `random/SEED.NUMBER`."""
    return [Draw(f"{seed}.{n}").case(f"random/{seed}.{n}") for n in range(count)]
