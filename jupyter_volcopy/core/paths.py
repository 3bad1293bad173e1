"""Names as bytes, and the cleaning of paths.

A path in this package is a `str`; bytes that are not UTF-8 are kept as surrogates (PEP 383), the
same on every locale. `encode` and `decode` are the only two ways across.
"""

from __future__ import annotations

__all__ = [
    "base_name",
    "clean",
    "clean_keeping_end",
    "decode",
    "encode",
    "is_plain",
    "join",
    "one_top",
    "parent",
    "query",
]


# What may stand in a query as it is (RFC 3986, "unreserved"), and the slash. `urllib.parse` would
# cost the start of every command ten milliseconds.
_PLAIN = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-~/")


def encode(path: str) -> bytes:
    """The bytes of `path` as the kernel and the engine know them."""
    return path.encode("utf-8", "surrogateescape")


def decode(raw: bytes) -> str:
    """The text of a name; bytes that are not UTF-8 become surrogates."""
    return raw.decode("utf-8", "surrogateescape")


def query(path: str) -> str:
    """`path` percent-encoded for the query of a URL, byte for byte."""
    return "".join(chr(byte) if byte in _PLAIN else f"%{byte:02X}" for byte in encode(path))


def clean(path: str) -> str:
    """`path` made absolute and cleaned lexically, as the engine does (Go's filepath.Clean)."""
    out: list[str] = []
    for part in path.split("/"):
        if part in ("", "."):
            continue
        if part == "..":
            if out:
                out.pop()
            continue
        out.append(part)
    return "/" + "/".join(out)


def clean_keeping_end(path: str) -> str:
    """`clean`, but a trailing `/` or `/.` stays, since it means something to a copy (rule R7).

    What ends in `/./` or `/.//` ends in `/.`: moby looks at the last component.
    """
    cleaned = clean(path)
    last = path.rstrip("/")
    if last.endswith("/.") or last == ".":
        return cleaned + ("." if cleaned.endswith("/") else "/.")
    if path.endswith("/") and cleaned != "/":
        return cleaned + "/"
    return cleaned


def base_name(path: str) -> str:
    """The last component of a cleaned path; `/` of the root."""
    return path.rstrip("/").rpartition("/")[2] or "/"


def parent(path: str) -> str:
    """The directory of a cleaned absolute path; `/` of the root."""
    return path.rstrip("/").rpartition("/")[0] or "/"


def join(directory: str, name: str) -> str:
    """`name` in `directory`, with one slash between."""
    return directory.rstrip("/") + "/" + name.lstrip("/")


def is_plain(rel: str) -> bool:
    """Whether a relative path has components at all, and none that is empty, `.` or `..`."""
    whole = f"/{rel}/"
    return "//" not in whole and ("/." not in whole or ("/./" not in whole and "/../" not in whole))


def one_top(so_far: str | None, name: str) -> str:
    """The one name in which all entries of an archive lie, entry by entry, parents first.

    Args:
        so_far: what this said of the entries before; None for the first.
        name: of the next entry.

    Returns:
        That name; "" where there is no such.
    """
    if so_far is None:
        return "" if "/" in name or name == "." else name
    return so_far if so_far and name.startswith(so_far + "/") else ""
