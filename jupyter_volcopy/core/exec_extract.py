"""An archive unpacked by `tar` in the running container, as a given user, and never half.

`tar` unpacks into a hidden directory of the target; only when it has ended well, entry by entry is
put in place with `mv`, which on one file system is a rename: the old file or the new one, nothing
between. Directories that exist on both sides are merged. What does not fit (a directory where a
file is to go) is found before anything is moved. All of it with that user's rights, so that links
in the container gain nobody anything.

Each program started costs the engine as much as a whole archive. So what has a single name is moved
without a look around: a rename cannot put a file in the place of a directory, nor a directory in
that of anything but an empty one, which alone is looked for. What is wrong is looked for where a
program says that something is.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import nullcontext
from typing import TYPE_CHECKING

from jupyter_volcopy.core.execute import program_error
from jupyter_volcopy.core.listing import stat_by_program
from jupyter_volcopy.core.model import Kind
from jupyter_volcopy.core.paths import clean, decode, join
from jupyter_volcopy.errors import (
    Conflict,
    EngineError,
    NoSuchPath,
    NotADirectory,
    PartialWrite,
    VolcopyError,
)

if TYPE_CHECKING:
    from jupyter_volcopy.core.docker_engine import DockerEngine
    from jupyter_volcopy.core.engine import ArchiveBody
    from jupyter_volcopy.core.model import ListedEntry

__all__ = ["STAGE_PREFIX", "extract_by_program"]

STAGE_PREFIX = ".volcopy-"
"""How names of directories start in which something is written aside."""

_ARGUMENTS = 48 * 1024


def extract_by_program(
    engine: DockerEngine, container: str, directory: str, body: ArchiveBody, user: str
) -> None:
    """Unpack `body` in `directory`; see `Engine.extract` with `user` or `live`.

    Raises:
        Conflict: the container is not running, or what is there does not fit.
        NoSuchPath, NotADirectory, AccessDenied, NoSpace, ReadOnlyTarget: as the user sees it.
        PartialWrite: a move failed after others had been made.
        EngineError: no `tar` in the container, or it failed.
    """
    if body.seal is not None:
        raise EngineError("a sealed archive is for the engine itself, not for a program")
    container = engine.container(container).id
    directory = clean(directory)
    stage = join(directory, STAGE_PREFIX + os.urandom(8).hex())
    run = _Runner(engine, container, user)
    try:
        run(["mkdir", "-m", "700", "--", stage], f"writing in {directory}")
    except VolcopyError:
        _explain(engine, container, directory, user)
        raise
    try:
        _unpack(engine, container, stage, body, user)
        only = getattr(body, "only", None)
        if only and getattr(body, "holds_directory", False):
            only = _new(engine, container, join(directory, only), user) and only
        if not only or not _move(run, join(stage, only), directory):
            _Placing(engine, run, stage, directory).place()
    finally:
        _remove(run, stage)


def _explain(engine: DockerEngine, container: str, directory: str, user: str) -> None:
    """Raise for a directory that cannot be one."""
    try:
        stat = stat_by_program(engine, container, join(directory, "."), user)
    except NoSuchPath:
        stat = stat_by_program(engine, container, directory, user)  # said by its own name
    if stat.kind is not Kind.DIRECTORY:
        raise NotADirectory(f"{directory} is not a directory", container=container, path=directory)


def _new(engine: DockerEngine, container: str, path: str, user: str) -> bool:
    """Whether nothing is there yet: a rename would take the place of an empty directory."""
    try:
        stat_by_program(engine, container, path, user)
    except NoSuchPath:
        return True
    return False


def _move(run: _Runner, path: str, directory: str) -> bool:
    """Put a single entry in place; False where what stands there is to be looked at."""
    if not _plain(path):
        return False
    try:
        run(["mv", "-f", "--", path, directory.rstrip("/") + "/"], "")
    except VolcopyError:
        return False
    return True


class _Runner:
    """Runs small programs and raises where one fails."""

    def __init__(self, engine: DockerEngine, container: str, user: str) -> None:
        self.engine = engine
        self.container = container
        self.user = user

    def __call__(self, argv: list[str], what: str) -> bytes:
        result = self.engine.execute(self.container, argv, user=self.user)
        if result.exit_code:
            raise program_error(result.exit_code, decode(result.stderr), what)
        return result.stdout


def _unpack(engine: DockerEngine, container: str, stage: str, body: ArchiveBody, user: str) -> None:
    from jupyter_volcopy.core.upload import send_archive

    argv = ["tar", "-x", "-p", "-f", "-", "-C", stage]
    program = engine.start_program(container, argv, user=user, stdin=True)
    failure: list[VolcopyError] = []

    def drain() -> None:
        try:
            program.drain()
        except VolcopyError as problem:
            failure.append(problem)

    # The output is read beside the sending: a tar that complains a lot must not be stuck with it.
    reader = threading.Thread(target=drain, name="volcopy-tar", daemon=True)
    reader.start()
    cancel = getattr(body, "cancel", None)
    try:
        with cancel.closing(program.abort) if cancel is not None else nullcontext():
            try:
                if program.started:
                    send_archive(program.connection, body, chunked=False)
                    program.connection.end_of_input()
            except ConnectionError:
                pass  # tar ended early: its exit status says why
            reader.join()
        if cancel is not None and cancel.cut:
            cancel.check()
        if failure:
            raise failure[0]
        code = program.exit_code()
        if code:
            raise program_error(code, program.errors(), f"writing in {stage.rpartition('/')[0]}")
    finally:
        program.abort()
        reader.join()
        program.close()


class _Placing:
    """Moves what was unpacked aside to where it belongs."""

    def __init__(self, engine: DockerEngine, run: _Runner, stage: str, directory: str) -> None:
        self._engine = engine
        self._run = run
        self._stage = stage
        self._directory = directory
        self._children: dict[str, list[ListedEntry]] = {}
        self._there: dict[str, Kind] = {}
        self._moves: list[tuple[str, list[str], bool]] = []
        self._modes: dict[int, list[str]] = {}
        self._moved = 0

    def _list(self, path: str, recursive: bool) -> tuple[ListedEntry, ...]:
        run = self._run
        found = self._engine.list_dir(run.container, path, recursive=recursive, user=run.user)
        return found.entries

    def place(self) -> None:
        """Find conflicts, then move."""
        # The archive may have changed the mode of the directory it was unpacked in.
        self._run(["chmod", "700", "--", self._stage], f"writing in {self._directory}")
        for entry in self._list(self._stage, True):
            self._children.setdefault(entry.name.rpartition("/")[0], []).append(entry)
        tops = {entry.name: entry for entry in self._children.get("", ())}
        for entry in self._list(self._directory, False):
            if entry.name in tops:
                self._there[entry.name] = entry.kind
                if entry.kind is Kind.DIRECTORY and tops[entry.name].kind is Kind.DIRECTORY:
                    for below in self._list(join(self._directory, entry.name), True):
                        self._there[f"{entry.name}/{below.name}"] = below.kind
        self._decide("")
        for argv, count in self._commands():
            try:
                self._run(argv, f"putting files in place in {self._directory}")
            except VolcopyError as problem:
                if not self._moved:
                    raise
                raise PartialWrite(
                    f"only some of it was put in place in {self._directory}: {problem.message}",
                    hint="copy again to finish",
                    moved=self._moved,
                ) from problem
            self._moved += count
        for mode, paths in self._modes.items():
            for some in _batches(paths):
                self._engine.execute(
                    self._run.container, ["chmod", f"{mode:o}", "--", *some], user=self._run.user
                )

    def _decide(self, below: str) -> None:
        """What to move of the staged directory `below` (relative; "" is the top)."""
        names: list[str] = []
        merged = False
        for entry in self._children.get(below, ()):
            there = self._there.get(entry.name)
            target = join(self._directory, entry.name)
            if there is Kind.DIRECTORY and entry.kind is Kind.DIRECTORY:
                merged = True
                self._modes.setdefault(entry.mode, []).append(target)
                self._decide(entry.name)
            elif there is Kind.DIRECTORY:
                raise Conflict(
                    f'cannot overwrite directory "{target}" with non-directory "{entry.name}"',
                    path=target,
                )
            elif there is not None and entry.kind is Kind.DIRECTORY:
                raise Conflict(
                    f'cannot overwrite non-directory "{target}" with directory "{entry.name}"',
                    path=target,
                )
            else:
                names.append(entry.name)
        plain = [name for name in names if _plain(name)]
        odd = len(plain) < len(names)
        if not _plain(below) or (odd and merged):
            raise EngineError(
                f"names in {join(self._directory, below)} that are not UTF-8 cannot be given to a "
                "program in the container"
            )
        if names:
            self._moves.append((below, plain, odd))

    def _commands(self) -> Iterator[tuple[list[str], int]]:
        for below, names, odd in self._moves:
            target = join(self._directory, below).rstrip("/") + "/"
            for some in _batches([join(self._stage, name) for name in names]):
                yield ["mv", "-f", "--", *some, target], len(some)
            if odd:  # what is left there can only be named by find itself
                source = join(join(self._stage, below), ".")
                move = ["-exec", "mv", "-f", "--", "{}", target, ";"]
                yield ["find", source, "-mindepth", "1", "-maxdepth", "1", *move], 1


def _plain(name: str) -> bool:
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _batches(paths: list[str]) -> Iterator[list[str]]:
    """`paths` in groups that fit into one argument list."""
    group: list[str] = []
    size = 0
    for path in paths:
        length = len(path.encode("utf-8", "surrogateescape")) + 1
        if group and size + length > _ARGUMENTS:
            yield group
            group, size = [], 0
        group.append(path)
        size += length
    if group:
        yield group


def _remove(run: _Runner, stage: str) -> None:
    """Remove the directory aside; a directory without write permission does not keep it."""
    import logging

    try:
        try:
            run(["rm", "-rf", "--", stage], "removing a temporary directory")
        except VolcopyError:
            run(["chmod", "-R", "u+rwX", "--", stage], "removing a temporary directory")
            run(["rm", "-rf", "--", stage], "removing a temporary directory")
    except VolcopyError as problem:
        logging.getLogger(__name__).warning("%s is left in the container: %s", stage, problem)
