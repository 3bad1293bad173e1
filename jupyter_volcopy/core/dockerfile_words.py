r"""Words of a Dockerfile: splitting, quotes, escapes and variables, as the builder has them.

Splitting comes first and knows no quotes (`VOLUME` takes a JSON list of texts or plain words), the
expansion of each word comes after it (Dockerfile reference, "Environment replacement"; seen against
images built by engine 20.10.24). `#`, `%` and `/` modifiers are of newer builders (seen against
BuildKit of engine 26.1.5).
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from jupyter_volcopy.errors import UsageError

__all__ = ["SPACE", "expand", "first_word", "quoted_words", "word_list"]

SPACE = " \t\v\f\r"
"""What separates words."""

_MAX_DEPTH = 64


def first_word(text: str) -> tuple[str, str]:
    """The first word, and what follows it."""
    match = re.match(rf"([^{SPACE}]*)[{SPACE}]*(.*)", text, re.DOTALL)
    assert match is not None
    return match[1], match[2]


def word_list(rest: str) -> list[str]:
    """A JSON list of texts, else words; quotes mean nothing at this step."""
    text = rest.strip(SPACE)
    if text.startswith("["):
        import json

        try:
            value = json.loads(text)
        except ValueError:
            value = None
        if isinstance(value, list):
            if not all(isinstance(item, str) for item in value):
                raise UsageError(
                    "when using JSON array syntax, arrays must be comprised of strings only"
                )
            return value
    return [word for word in re.split(rf"[{SPACE}]+", text) if word]


def quoted_words(rest: str, escape: str) -> list[str]:
    """Words of an ARG line; quotes keep spaces together and stay."""
    mark = re.escape(escape)
    return re.findall(rf"(?:'[^']*'|\"(?:{mark}.|[^\"])*\"|{mark}.|[^\s'\"])+", rest)


def expand(
    word: str,
    values: Mapping[str, str],
    *,
    escape: str = "\\",
    missing: set[str] | None = None,
) -> str:
    """`word` as the builder understands it: quotes and escapes removed, variables put in.

    Args:
        word: one word of an instruction.
        values: the variables.
        escape: the file's escape character.
        missing: names without a value are added to it.

    Raises:
        UsageError: a quote or brace without its end, an unknown modifier, `${X:?text}` unset.
    """
    out, end = _Words(word, values, escape, missing).until("")
    assert end == len(word)
    return out


class _Words:
    """The state of one expansion."""

    def __init__(
        self, text: str, values: Mapping[str, str], escape: str, missing: set[str] | None
    ) -> None:
        self._text = text
        self._values = values
        self._escape = escape
        self._missing = missing
        self._at = 0
        self._depth = 0

    def until(self, stop: str) -> tuple[str, int]:
        """Everything up to one of the characters `stop`, which is not taken."""
        out: list[str] = []
        text = self._text
        while self._at < len(text) and (not stop or text[self._at] not in stop):
            char = text[self._at]
            if char == "'":
                end = text.find("'", self._at + 1)
                if end < 0:
                    raise self._unfinished("a single quote")
                out.append(text[self._at + 1 : end])
                self._at = end + 1
            elif char == '"':
                self._at += 1
                out.append(self._double())
            elif char == "$":
                out.append(self._dollar())
            elif char == self._escape:
                out.append(text[self._at + 1 : self._at + 2])
                self._at += 2
            else:
                out.append(char)
                self._at += 1
        self._at = min(self._at, len(text))
        return "".join(out), self._at

    def _double(self) -> str:
        out: list[str] = []
        text = self._text
        while self._at < len(text):
            char = text[self._at]
            if char == '"':
                self._at += 1
                return "".join(out)
            if char == "$":
                out.append(self._dollar())
                continue
            following = text[self._at + 1 : self._at + 2]
            if char == self._escape and following in ('"', "$", self._escape) and following:
                out.append(following)
                self._at += 2
                continue
            out.append(char)
            self._at += 1
        raise self._unfinished("a double quote")

    def _unfinished(self, what: str) -> UsageError:
        return UsageError(f"{self._text!r}: unexpected end while looking for the end of {what}")

    def _value(self, name: str) -> str | None:
        value = self._values.get(name)
        if value is None and self._missing is not None:
            self._missing.add(name)
        return value

    def _dollar(self) -> str:
        text = self._text
        self._at += 1
        if text[self._at : self._at + 1] != "{":
            match = re.compile(r"[A-Za-z_][A-Za-z0-9_]*|[0-9@*#]").match(text, self._at)
            if not match:
                return "$"
            self._at = match.end()
            return self._value(match[0]) or ""
        match = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*|[0-9@*#])").match(text, self._at)
        if not match:
            raise UsageError(f"{text!r}: bad substitution")
        self._at = match.end()
        return self._modified(match[1])

    def _modified(self, name: str) -> str:
        text = self._text
        rest = re.compile(r"\}|:?[-+?]|##?|%%?|//?").match(text, self._at)
        if not rest:
            raise (
                self._unfinished("a brace")
                if self._at >= len(text)
                else UsageError(f"{text!r}: unsupported modifier in substitution")
            )
        sign = rest[0]
        self._at = rest.end()
        if sign == "}":
            return self._value(name) or ""
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            raise UsageError("substitutions are nested too deeply")
        word = self.until("/}" if sign.startswith("/") else "}")[0]
        other = ""
        if sign.startswith("/") and text[self._at : self._at + 1] == "/":
            self._at += 1
            other = self.until("}")[0]
        if text[self._at : self._at + 1] != "}":
            raise self._unfinished("a brace")
        self._at += 1
        self._depth -= 1
        return self._apply(name, sign, word, other)

    def _apply(self, name: str, sign: str, word: str, other: str) -> str:
        value = self._values.get(name)
        there = value is not None and (value != "" or not sign.startswith(":"))
        if sign.endswith("-"):
            return str(value) if there else word
        if sign.endswith("+"):
            return word if there else ""
        if sign.endswith("?"):
            if not there:
                raise UsageError(f"{name}: {word or 'not set'}")
            return str(value)
        value = self._value(name) or ""
        return _cut(value, sign, word, other)


def _cut(value: str, sign: str, pattern: str, other: str) -> str:
    """The prefix (`#`), suffix (`%`) and replacing (`/`) modifiers of newer builders."""
    greedy = len(sign) == 2 or sign == "/"
    source = "".join(
        (".*" if greedy else ".*?") if char == "*" else "." if char == "?" else re.escape(char)
        for char in pattern
    )
    if sign.startswith("#"):
        match = re.match(source, value, re.DOTALL)
        return value[match.end() :] if match else value
    if sign.startswith("%"):
        starts = range(len(value) + 1) if greedy else range(len(value), -1, -1)
        for start in starts:
            if re.fullmatch(source, value[start:], re.DOTALL):
                return value[:start]
        return value
    return re.sub(
        source, lambda _match: other, value, count=0 if sign == "//" else 1, flags=re.DOTALL
    )
