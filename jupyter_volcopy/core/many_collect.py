"""Collecting: the same path out of many containers, each user's in a directory of their own.

What is collected lands in `INTO/<user>/<time>-<hash>/`, so a later version never replaces an
earlier one, and name, time and hash of each can be seen. `INTO/collected.json` remembers what was
there when it was collected last (names, sizes, times): what has not changed since is not read
again, and what turns out to have the same bytes is not kept twice.

Everything lands as `--safe` does: no links are followed, no power travels, limits hold.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any

from jupyter_volcopy.core.control import Cancel, Meter
from jupyter_volcopy.core.endpoint import ContainerPath, LocalPath
from jupyter_volcopy.core.engine import Engine
from jupyter_volcopy.core.localfs import Tree, local_error
from jupyter_volcopy.core.many import (
    Acting,
    File,
    Goal,
    Limits,
    ManyReport,
    Outcome,
    Work,
    acting,
    filled,
    folder_name,
    for_each,
    no_links,
)
from jupyter_volcopy.core.model import Container, Kind
from jupyter_volcopy.core.paths import encode, join
from jupyter_volcopy.errors import Conflict, LimitExceeded

__all__ = ["RECORD", "collect", "known_in", "remember"]

RECORD = "collected.json"
_BLOCK = 1 << 20


def known_in(into: str) -> dict[str, str]:
    """What was collected into a directory before: label and path -> what was there."""
    try:
        with open(join(into, RECORD), encoding="utf-8") as file:
            found = json.load(file)["known"]
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    return {str(key): str(value) for key, value in found.items()} if isinstance(found, dict) else {}


def remember(into: str, known: Mapping[str, str]) -> None:
    """Write down what is collected now.

    Raises:
        LocalError: it cannot be written.
    """
    path = join(into, RECORD)
    temporary = f"{path}.new-{os.urandom(4).hex()}"
    try:
        with open(temporary, "x", encoding="utf-8") as file:
            json.dump({"known": dict(sorted(known.items()))}, file, indent=1)
        os.replace(temporary, path)
    except OSError as error:
        raise local_error(error, "write", path) from None


def collect(
    engine: Engine,
    path: str,
    goals: Sequence[Goal],
    into: str,
    *,
    known: Mapping[str, str] | None = None,
    limits: Limits | None = None,
    who: Acting | None = None,
    meter: Meter | None = None,
    cancel: Cancel | None = None,
) -> ManyReport:
    """Copy a path out of many containers into a local directory.

    Args:
        engine: with an administrator's rights.
        path: absolute, with `{user}` and `{server}`.
        goals: the containers.
        into: local directory; made if it is not there.
        known: what was collected before; None: as `into` itself remembers.
        limits: for each container.
        who: as whom to work in a container.
        meter, cancel: to watch and to stop it.

    Returns:
        The report; `more["known"]` of an outcome is what `known` should say of it next time.

    Raises:
        VolcopyError: nothing can be collected at all.
    """
    limits = limits or Limits()
    for goal in goals[:1]:
        filled(path, goal)
    try:
        os.makedirs(encode(into), exist_ok=True)
    except OSError as error:
        raise local_error(error, "make", into) from None
    here = known is None
    before = known_in(into) if known is None else known
    report = ManyReport("pull", [path], into)
    lock = threading.Lock()
    now = dict(before)

    def one(goal: Goal, outcome: Outcome, mine: Cancel) -> None:
        key = f"{goal.label}\0{path}"
        with acting(engine, goal, who) as work:
            said = _take(
                work, filled(path, goal), goal, outcome, mine, into, before.get(key, ""), limits
            )
        outcome.more["known"] = said
        with lock:
            now[key] = said

    try:
        return for_each(
            goals, one, report, limits=limits, meter=meter or Meter(), cancel=cancel or Cancel()
        )
    finally:
        if here and now != before:
            remember(into, now)


def _take(
    work: Work,
    path: str,
    goal: Goal,
    outcome: Outcome,
    cancel: Cancel,
    into: str,
    known: str,
    limits: Limits,
) -> str:
    """Collect from one container; what to know of it next time: `SEEN HASH`."""
    engine, container = work.engine, work.container
    no_links(engine, container, path)
    cancel.check()
    seen = _seen(engine, container, path, limits)
    last_seen, _, last_hash = known.partition(" ")
    if last_hash and seen == last_seen:
        outcome.state = "same"
        outcome.files.append(File(path, "same", last_hash))
        return known
    place = join(into, folder_name(goal.user))
    if goal.server:
        place = join(place, "server-" + folder_name(goal.server))
    aside = join(place, f".collecting-{os.urandom(6).hex()}")
    try:
        os.makedirs(encode(aside), 0o755)
    except OSError as error:
        raise local_error(error, "make", aside) from None
    try:
        copied = work.copier.copy(
            ContainerPath(container.id, path),
            LocalPath(aside + "/"),
            cancel=cancel,
            safe=True,
            max_entries=limits.entries,
            max_bytes=limits.bytes,
        )
        files, digest = _hashed(aside)
        if digest == last_hash:
            outcome.state = "same"
            outcome.files.append(File(path, "same", digest))
            return f"{seen} {digest}"
        stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        final = join(place, f"{stamp}-{digest[:12]}")
        try:
            os.rename(encode(aside), encode(final))
        except OSError as error:
            raise local_error(error, "make", final) from None
        outcome.bytes = copied.bytes
        outcome.files += [
            File(join(final, name), "collected", sha, size) for name, sha, size in files
        ]
        outcome.more["sha256"] = digest
        outcome.more["folder"] = final
        outcome.state = "done"
        return f"{seen} {digest}"
    finally:
        shutil.rmtree(encode(aside), ignore_errors=True)
        try:
            os.rmdir(encode(place))  # nothing came: no empty directory stays
        except OSError:
            pass


def _seen(engine: Engine, container: Container, path: str, limits: Limits) -> str:
    """A word for what is there by names, sizes and times; nothing is read.

    Raises:
        LimitExceeded: it is more than may be.
        Conflict: it is neither a file nor a directory.
    """
    stat = engine.stat(container.id, path)
    facts: list[Any] = [[stat.kind.value, stat.size, stat.mtime_ns, stat.mode]]
    size = stat.size if stat.kind is Kind.FILE else 0
    if stat.kind is Kind.DIRECTORY:
        listing = engine.list_dir(container.id, path, recursive=True)
        facts = [[stat.kind.value, stat.mode]]
        for item in listing.entries:
            facts.append([item.name, item.kind.value, item.size, item.mtime_ns, item.mode])
            size += item.size if item.kind is Kind.FILE else 0
        if len(listing.entries) > limits.entries:
            raise LimitExceeded(
                f"{path} has {len(listing.entries)} entries; {limits.entries} may be collected"
            )
    elif stat.kind is not Kind.FILE:
        raise Conflict(f"{path} is a {stat.kind.value}, neither a file nor a directory")
    if size > limits.bytes:
        raise LimitExceeded(f"{path} has {size} bytes; {limits.bytes} may be collected")
    raw = json.dumps(facts, ensure_ascii=True).encode("ascii")
    return hashlib.sha256(raw).hexdigest()[:32]


def _hashed(directory: str) -> tuple[list[tuple[str, str, int]], str]:
    """Files below a directory with hash and size, and one hash for all of it.

    One file alone has its own hash, as sha256sum says it.
    """
    files: list[tuple[str, str, int]] = []
    with Tree.open(directory) as tree:
        for entry in tree.walk():
            if entry.error is not None:
                raise entry.error
            if entry.kind is not Kind.FILE:
                continue
            fd = tree.open_file(entry.rel)
            digest = hashlib.sha256()
            size = 0
            try:
                with open(fd, "rb", closefd=False) as file:
                    while block := file.read(_BLOCK):
                        digest.update(block)
                        size += len(block)
            except OSError as error:
                raise local_error(error, "read", entry.rel) from None
            finally:
                os.close(fd)
            files.append((entry.rel, digest.hexdigest(), size))
    if len(files) == 1 and "/" not in files[0][0]:
        return files, files[0][1]
    over = hashlib.sha256()
    for name, sha, _ in files:
        over.update(encode(name) + b"\0" + sha.encode("ascii") + b"\n")
    return files, over.hexdigest()
