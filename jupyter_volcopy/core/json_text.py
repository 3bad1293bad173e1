"""JSON from the engine, read without `import json`, which costs as much as a small copy.

The scanner in C that `json` itself works with is used directly; whatever it does not take is handed
to `json`, so values and errors are the same.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["parse", "quoted"]


class _Rules:
    """What the scanner wants to know: the defaults of `json.loads`."""

    strict = True
    object_hook = None
    object_pairs_hook = None
    parse_float = float
    parse_int = int
    parse_constant = {"-Infinity": -float("inf"), "Infinity": float("inf"), "NaN": float("nan")}.get


def quoted(text: str) -> str:
    """`text` as a string of JSON, in quotes."""
    try:
        from _json import encode_basestring
    except ImportError:  # another interpreter
        from json.encoder import encode_basestring
    found: str = encode_basestring(text)
    return found


def parse(text: str) -> Any:
    """The value that `text` stands for, as `json.loads`.

    Raises:
        ValueError, RecursionError: it is not JSON, or nested beyond measure.
    """
    try:
        from _json import make_scanner

        rules: Any = _Rules
        value, end = make_scanner(rules)(text, 0)
        if not text[end:].strip(" \t\n\r"):
            return value
    except Exception:  # noqa: S110 - another interpreter, blanks in front, no JSON: `json` knows
        pass
    import json

    return json.loads(text)
