r"""What a Dockerfile's `VOLUME` lines declare, and what a container of it would keep.

An own reader (with `dockerfile_words`) rather than a foreign one: the one well-kept parser in plain
Python, `dockerfile-parse`, splits lines into instructions, which is the small part here, and has
neither `${X:-y}`, nor the scopes of `ARG` and `ENV`, nor here-documents, nor `ONBUILD`, nor what a
stage inherits; it also wants the file to be called `Dockerfile`. Three steps:

1. `instructions()` does what the engine's own parser does with lines (Dockerfile reference: parser
   directives, escape, comments and empty lines inside continuations, here-documents).
2. `expand()` of each word: quotes, escapes, `$X`, `${X}` and its modifiers. It is done after
   splitting, so ``VOLUME ['/a']`` (single quotes are not JSON) declares ``[/a]``, as the engine
   has it too.
3. `read_dockerfile()` runs the stages up to the target: what each inherits (an earlier stage, or an
   image that `lookup` knows, with its `ONBUILD` triggers), its `ARG`, `ENV`, `WORKDIR`, `VOLUME`.

Warnings are for what is lost: the classic builder runs every `RUN` in a container in which the
declared paths are volumes already, and does not put what is written there into the image. `COPY`,
`ADD` and `WORKDIR` do arrive (both seen on engine 20.10.24).
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from jupyter_volcopy.core.dockerfile_words import (
    SPACE,
    expand,
    first_word,
    quoted_words,
    word_list,
)
from jupyter_volcopy.core.record import State, Value, each
from jupyter_volcopy.errors import UsageError, show

__all__ = [
    "Advice",
    "Declared",
    "DockerfileReport",
    "Instruction",
    "escape_of",
    "image_report",
    "instructions",
    "keep_flag",
    "read_dockerfile",
]

_DIRECTIVE = re.compile(r"^#[ \t]*([A-Za-z][A-Za-z0-9]*)[ \t]*=[ \t]*(.+?)[ \t]*$")
_HEREDOC = re.compile(r"\d*<<(-?)([^<]+)")
_FLAG = re.compile(r"--[A-Za-z][A-Za-z0-9-]*(=\S*)?$")


class Instruction(Value):
    """One instruction.

    Attributes:
        keyword: upper case.
        rest: everything after it, continuations joined.
        line: number of its first line, from 1; 0 for one that stands in no file.
        documents: texts of its here-documents.
    """

    keyword: str
    rest: str
    line: int
    documents: tuple[str, ...] = ()


class Declared(Value):
    """One mount point.

    Attributes:
        path: as it will stand in the image's configuration.
        origin: `line 4`, `image NAME`, or `image NAME (ONBUILD)`.
        line: number in the file, 0 where it is inherited.
    """

    path: str
    origin: str
    line: int = 0

    def to_dict(self) -> dict[str, Any]:
        """As `--json` prints it, with the flag that would keep the data under a name."""
        return {
            "path": show(self.path),
            "origin": show(self.origin),
            "line": self.line,
            "flag": show(keep_flag(self.path)),
        }


class Advice(Value):
    """Something to know about one line (0: about all of it)."""

    line: int
    path: str
    message: str

    def to_dict(self) -> dict[str, Any]:
        """As `--json` prints it."""
        return {"line": self.line, "path": show(self.path), "message": show(self.message)}


class DockerfileReport(State):
    """What an image built from it declares.

    Attributes:
        name: the file or image.
        stage: name or number of the stage that was read; empty for an image.
        base: the image the last stage builds on in the end.
        volumes: the mount points, in the order in which they were declared.
        onbuild: paths that images built `FROM` this one will declare.
        warnings: what would be lost or not do what was meant.
    """

    name: str
    stage: str = ""
    base: str = ""
    volumes: list[Declared] = each(factory=list)
    onbuild: list[str] = each(factory=list)
    warnings: list[Advice] = each(factory=list)

    def to_dict(self) -> dict[str, Any]:
        """As `--json` prints it."""
        return {
            "name": show(self.name),
            "stage": show(self.stage),
            "base": show(self.base),
            "volumes": [item.to_dict() for item in self.volumes],
            "onbuild": [show(path) for path in self.onbuild],
            "warnings": [item.to_dict() for item in self.warnings],
            "keeps": self.keeps(),
        }

    def keeps(self) -> list[str]:
        """What a container of it would keep, in sentences."""
        if not self.volumes:
            return [
                "It declares no mount point: whatever a container of it writes is gone with the "
                "container, unless it is run with -v NAME:PATH."
            ]
        flags = " ".join(keep_flag(item.path) for item in self.volumes)
        return [
            "Run without a flag, each of these paths gets a volume without a name: it outlives "
            "`docker rm`, but nothing names it then, and `docker rm -v`, `docker run --rm` and "
            "DockerSpawner's remove delete it.",
            f"To keep the data: docker run {show(flags)} ...",
            "Everything written elsewhere is gone with the container.",
        ]


def keep_flag(path: str) -> str:
    """The flag of `docker run` that puts a volume with a name at `path`."""
    path = path if path.startswith(("/", "$")) else f"/{path}"  # taken from the root
    name = re.sub(r"[^A-Za-z0-9_.-]+", "-", path.strip("/")).strip("-._") or "data"
    name = name if len(name) > 1 else f"{name}-data"  # the engine wants two characters
    return f"-v {name}:{path}" if re.fullmatch(r"[\w./:@+-]+", path) else f"-v '{name}:{path}'"


# -- lines to instructions ------------------------------------------------------------------


def _directives(lines: list[str]) -> str:
    """The escape character."""
    seen: set[str] = set()
    for line in lines:
        match = _DIRECTIVE.match(line.strip())
        if not match or match[1].lower() in seen:
            break
        seen.add(match[1].lower())
        if match[1].lower() == "escape":
            if match[2] not in ("\\", "`"):
                raise UsageError(f"invalid ESCAPE '{match[2]}': it must be ` or \\")
            return match[2]
    return "\\"


def _heredocs(keyword: str, rest: str) -> list[tuple[str, bool]]:
    """End words of the here-documents which an instruction opens, and whether tabs are cut."""
    if keyword == "ONBUILD":
        keyword, _, rest = rest.strip().partition(" ")
        keyword = keyword.upper()
    if keyword not in ("RUN", "COPY", "ADD") or "<<" not in rest:
        return []
    found = [_HEREDOC.fullmatch(word) for word in quoted_words(rest, "\\")]
    return [(match[2].strip("'\""), match[1] == "-") for match in found if match]


def escape_of(text: str) -> str:
    r"""The escape character of a Dockerfile: `\\` unless a directive says `` ` ``."""
    return _directives(text.removeprefix("\ufeff").split("\n"))


def instructions(text: str) -> list[Instruction]:
    """The instructions of a Dockerfile.

    Raises:
        UsageError: an escape directive of another character, a here-document without an end.
    """
    lines = [line.removesuffix("\r") for line in text.removeprefix("\ufeff").split("\n")]
    escape = re.escape(_directives(lines))
    # a doubled escape is itself, not a continuation
    joined = re.compile(rf"(?:(?<!{escape}){escape}|^{escape})[ \t]*$")
    out: list[Instruction] = []
    at = 0
    while at < len(lines):
        first = at
        piece = lines[at].lstrip(SPACE)
        at += 1
        if not piece or piece.startswith("#"):
            continue
        parts: list[str] = []
        while True:
            match = joined.search(piece)
            parts.append(piece[: match.start()] if match else piece)
            if not match:
                break
            while at < len(lines) and lines[at].lstrip(SPACE)[:1] in ("", "#"):
                at += 1  # comments and empty lines do not end a continued instruction
            if at >= len(lines):
                break
            piece = lines[at]
            at += 1
        keyword, rest = first_word("".join(parts).strip(SPACE))
        documents: list[str] = []
        for end, cut in _heredocs(keyword.upper(), rest):
            body: list[str] = []
            while True:
                if at >= len(lines):
                    raise UsageError(f"line {first + 1}: unterminated heredoc {end}")
                line = lines[at].lstrip("\t") if cut else lines[at]
                at += 1
                if line == end:
                    break
                body.append(line)
            documents.append("\n".join(body))
        out.append(Instruction(keyword.upper(), rest, first + 1, tuple(documents)))
    return out


def _flags(rest: str) -> tuple[list[str], str]:
    """Leading `--name=value` words, and the rest."""
    found: list[str] = []
    while True:
        word, after = first_word(rest.strip(SPACE))
        if not _FLAG.match(word):
            return found, rest.strip(SPACE)
        found.append(word)
        rest = after


# -- stages ---------------------------------------------------------------------------------

Lookup = Callable[[str], "Mapping[str, Any] | None"]
"""The `Config` of an image by name (keys `Volumes`, `Env`, `OnBuild`, `WorkingDir`), or None."""


class _Stage(State):
    name: str
    number: int
    base: str
    env: dict[str, str] = each(factory=dict)
    args: dict[str, str] = each(factory=dict)
    volumes: dict[str, Declared] = each(factory=dict)
    onbuild: list[Instruction] = each(factory=list)
    warnings: list[Advice] = each(factory=list)
    workdir: str = "/"

    @property
    def values(self) -> dict[str, str]:
        return {**self.args, **self.env}


def _pairs(rest: str, values: Mapping[str, str], escape: str) -> Iterator[tuple[str, str]]:
    """`NAME=value` words of ENV and ARG (quotes kept together), or ENV's old `NAME value`."""
    quoted = rf"(?:'[^']*'|\"(?:{re.escape(escape)}.|[^\"])*\"|{re.escape(escape)}.|[^\s'\"])+"
    first, after = first_word(rest)
    if "=" not in first:
        yield first, expand(after, values, escape=escape) if after else ""
        return
    for word in re.findall(quoted, rest, re.DOTALL):
        name, equals, value = word.partition("=")
        if equals:
            yield (
                expand(name, values, escape=escape),
                expand(value, values, escape=escape),
            )


class _Run:
    """One reading of a Dockerfile."""

    def __init__(self, build_args: Mapping[str, str], lookup: Lookup | None, escape: str) -> None:
        self._build_args = build_args
        self._lookup = lookup
        self._escape = escape
        self._globals: dict[str, str] = {}
        self.stages: list[_Stage] = []

    def find(self, name: str) -> _Stage | None:
        for stage in reversed(self.stages):
            if stage.name and stage.name == name.lower():
                return stage
        return None

    def take(self, item: Instruction) -> None:
        if item.keyword == "FROM":
            self._start(item)
        elif not self.stages:
            if item.keyword != "ARG":
                raise UsageError(f"line {item.line}: no build stage in current context")
            self._arg(item, self._globals, self._globals)
        else:
            self.step(self.stages[-1], item, f"line {item.line}")

    def _arg(self, item: Instruction, scope: dict[str, str], values: Mapping[str, str]) -> None:
        for word in quoted_words(item.rest, self._escape):
            name, equals, default = word.partition("=")
            if name in self._build_args:
                scope[name] = self._build_args[name]
            elif equals:
                scope[name] = expand(default, {**values, **scope}, escape=self._escape)
            elif scope is not self._globals and name in self._globals:
                scope[name] = self._globals[name]

    def _start(self, item: Instruction) -> None:
        _, rest = _flags(item.rest)
        words = rest.split()
        named = len(words) == 3 and words[1].lower() == "as"
        if not named and len(words) != 1:
            raise UsageError(
                f"line {item.line}: FROM requires either one argument, or three: "
                "FROM <source> [as <name>]"
            )
        base = expand(words[0], self._globals, escape=self._escape)
        if not base:
            raise UsageError(f"line {item.line}: base name ({words[0]}) should not be blank")
        earlier = self.find(base)
        stage = _Stage(words[2].lower() if named else "", len(self.stages), base)
        self.stages.append(stage)
        triggers: list[Instruction] = []
        if earlier is not None:
            stage.base = earlier.base
            stage.env = dict(earlier.env)
            stage.workdir = earlier.workdir
            stage.volumes = dict(earlier.volumes)
            stage.warnings = list(earlier.warnings)
            triggers = earlier.onbuild
        elif base != "scratch":
            triggers = self._inherit(stage, item.line)
        origin = f"image {base} (ONBUILD)" if earlier is None else f"stage {base} (ONBUILD)"
        for trigger in triggers:
            self.step(stage, trigger, origin)

    def _inherit(self, stage: _Stage, line: int) -> list[Instruction]:
        config = self._lookup(stage.base) if self._lookup else None
        if config is None:
            stage.warnings.append(
                Advice(
                    line,
                    "",
                    f"the image {stage.base} could not be looked at: what it declares itself "
                    "is not in this list",
                )
            )
            return []
        stage.env.update(
            (name, value)
            for name, equals, value in (str(one).partition("=") for one in config.get("Env") or [])
            if equals
        )
        stage.workdir = str(config.get("WorkingDir") or "/")
        for path in config.get("Volumes") or {}:
            stage.volumes[path] = Declared(path, f"image {stage.base}")
        lines: list[Instruction] = []
        for text in config.get("OnBuild") or []:
            lines += [Instruction(i.keyword, i.rest, 0) for i in instructions(str(text))]
        return lines

    def step(self, stage: _Stage, item: Instruction, origin: str) -> None:
        """One instruction within a stage."""
        keyword = item.keyword
        if keyword == "ARG":
            self._arg(item, stage.args, stage.values)
        elif keyword == "ENV":
            stage.env.update(list(_pairs(item.rest, stage.values, self._escape)))
        elif keyword == "WORKDIR":
            path = expand(item.rest, stage.values, escape=self._escape)
            stage.workdir = posixpath.normpath(posixpath.join(stage.workdir or "/", path))
        elif keyword == "VOLUME":
            self._volume(stage, item, origin)
        elif keyword == "ONBUILD":
            inner, rest = first_word(item.rest)
            stage.onbuild.append(Instruction(inner.upper(), rest, item.line, item.documents))
        elif keyword == "RUN":
            self._written(stage, item)

    def _volume(self, stage: _Stage, item: Instruction, origin: str) -> None:
        words = word_list(item.rest)
        if not words:
            raise UsageError(f"line {item.line}: VOLUME requires at least one argument")
        missing: set[str] = set()
        for word in words:
            path = expand(word, stage.values, escape=self._escape, missing=missing).strip()
            if not path:
                unset = f" ({', '.join(sorted(missing))} has no value)" if missing else ""
                raise UsageError(
                    f"line {item.line}: VOLUME specified can not be an empty string{unset}"
                )
            stage.volumes.setdefault(path, Declared(path, origin, item.line))
            stage.warnings += _odd(path, word, item)
        for name in sorted(missing):
            stage.warnings.append(
                Advice(item.line, "", f"{name} has no value here; it stands for nothing")
            )

    def _written(self, stage: _Stage, item: Instruction) -> None:
        """Warn of a RUN that touches a path declared before it."""
        text = "\n".join((item.rest, *item.documents))
        values = stage.values
        text = re.sub(
            r"\$(?:(\w+)|\{(\w+)\})", lambda found: values.get(found[1] or found[2], found[0]), text
        )
        for path in stage.volumes:
            place = posixpath.normpath(path)
            inside = stage.workdir == place or stage.workdir.startswith(place + "/")
            if inside or re.search(rf"(?<![\w./-]){re.escape(place)}(?![\w.-])", text):
                stage.warnings.append(
                    Advice(
                        item.line,
                        path,
                        f"RUN comes after VOLUME {path}: the classic builder drops what it writes "
                        "there (owners and modes too); move it above the VOLUME line",
                    )
                )


def _odd(path: str, word: str, item: Instruction) -> list[Advice]:
    """What is strange about one declared path."""
    if item.rest.strip().startswith("[") and re.search(r"[\[\],]", path):
        text = f"{item.rest.strip()} is no JSON (it needs double quotes), so it declares {path!r}"
    elif not path.startswith("/"):
        text = f"{path!r} is not absolute; it is taken from /, not from WORKDIR"
    elif re.search(r"[\[\],\"']", path):
        text = f"{path!r} holds a bracket, comma or quote: is that meant?"
    elif word != path and posixpath.normpath(path) == "/":
        text = "a volume at / cannot be made"
    else:
        return []
    return [Advice(item.line, path, text)]


def read_dockerfile(
    text: str,
    *,
    name: str = "Dockerfile",
    target: str = "",
    build_args: Mapping[str, str] | None = None,
    lookup: Lookup | None = None,
) -> DockerfileReport:
    """What an image built from this Dockerfile would declare.

    Args:
        text: the Dockerfile.
        name: what to call it.
        target: name or number of a stage, as `docker build --target`; empty: the last one.
        build_args: as `docker build --build-arg`.
        lookup: gives the `Config` of a base image, or None where it is not there.

    Raises:
        UsageError: the builder would refuse it too; the line is named.
    """
    run = _Run(build_args or {}, lookup, escape_of(text))
    wanted: _Stage | None = None
    for item in instructions(text):
        if item.keyword == "FROM" and run.stages and _is_target(run.stages[-1], target):
            break
        try:
            run.take(item)
        except UsageError as error:
            if error.message.startswith("line "):
                raise
            raise UsageError(f"line {item.line}: {error.message}") from None
    if not run.stages:
        raise UsageError(f"{name}: no FROM, so no image", hint="is it a Dockerfile?")
    wanted = run.stages[-1]
    if target and not _is_target(wanted, target):
        raise UsageError(f"failed to reach build target {target} in Dockerfile")
    seen: set[tuple[int, str, str]] = set()
    warnings = []
    for one in wanted.warnings:
        if (one.line, one.path, one.message) not in seen:
            seen.add((one.line, one.path, one.message))
            warnings.append(one)
    return DockerfileReport(
        name=name,
        stage=wanted.name or str(wanted.number),
        base=wanted.base,
        volumes=list(wanted.volumes.values()),
        onbuild=_trigger_paths(wanted.onbuild, wanted.values, run),
        warnings=warnings,
    )


def _is_target(stage: _Stage, target: str) -> bool:
    return bool(target) and (stage.name == target.lower() or str(stage.number) == target)


def _trigger_paths(triggers: list[Instruction], values: Mapping[str, str], run: _Run) -> list[str]:
    """Paths which ONBUILD lines will declare in images built on top, as far as known now."""
    stage = _Stage("", 0, "", env=dict(values))
    for trigger in triggers:
        if trigger.keyword in ("VOLUME", "ENV", "ARG"):
            run.step(stage, trigger, "ONBUILD")
    return list(stage.volumes)


def image_report(name: str, inspect: Mapping[str, Any]) -> DockerfileReport:
    """The same answer for an image that exists, from the engine's inspect of it."""
    config = inspect.get("Config") or {}
    triggers = "\n".join(str(text) for text in config.get("OnBuild") or [])
    report = DockerfileReport(
        name, volumes=[Declared(p, "image") for p in config.get("Volumes") or {}]
    )
    if triggers:
        env = [str(one).partition("=") for one in config.get("Env") or []]
        values = {key: value for key, equals, value in env if equals}
        report.onbuild = _trigger_paths(instructions(triggers), values, _Run({}, None, "\\"))
    return report
