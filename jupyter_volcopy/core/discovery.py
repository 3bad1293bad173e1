"""Which engine is meant, and how it is reached: the rules of the docker command.

An address named by the caller, else a context named by the caller, else `DOCKER_HOST`, else
`DOCKER_CONTEXT`, else `currentContext` of `~/.docker/config.json`, else the default socket. What
only some addresses need (TLS, ssh, reading a context) is imported when one of them is met.
"""

from __future__ import annotations

import os

from jupyter_volcopy.core.docker_engine import DockerEngine
from jupyter_volcopy.core.http import Dial, Timeouts, dial_tcp, dial_unix
from jupyter_volcopy.core.json_text import parse
from jupyter_volcopy.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["DEFAULT_ADDRESS", "TlsFiles", "find_address", "open_engine"]

DEFAULT_ADDRESS = "unix:///var/run/docker.sock"


class TlsFiles:
    """Files for TLS; empty: none.

    Attributes:
        ca, cert, key: paths in PEM.
        verify: check the engine's certificate.
    """

    __slots__ = ("ca", "cert", "key", "verify")

    def __init__(self, ca: str = "", cert: str = "", key: str = "", verify: bool = True) -> None:
        self.ca = ca
        self.cert = cert
        self.key = key
        self.verify = verify


def open_engine(
    address: str = "",
    context: str = "",
    *,
    tls: TlsFiles | None = None,
    timeouts: Timeouts | None = None,
) -> DockerEngine:
    """The engine that is meant. Nothing is connected yet.

    Args:
        address: `unix://`, `tcp://`, `https://` or `ssh://`; empty: by the rules above.
        context: name of a docker context.
        tls: files to use instead of those the environment or the context names.
        timeouts: limits in seconds; None: those of the environment (`VOLCOPY_CONNECT_TIMEOUT`,
            `VOLCOPY_ANSWER_TIMEOUT`, `VOLCOPY_IDLE_TIMEOUT`), else the usual ones.

    Raises:
        UsageError: an address, context or limit that makes no sense.
    """
    address, found = find_address(address, context)
    tls = tls or found
    dial, shown = _dial(address, tls)
    timeouts = timeouts or _timeouts()
    return DockerEngine(dial, address=shown, timeouts=timeouts)


def _timeouts() -> Timeouts:
    """The usual limits, or what the environment says."""
    found = Timeouts()
    for name in ("connect", "answer", "idle"):
        key = f"VOLCOPY_{name.upper()}_TIMEOUT"
        text = os.environ.get(key)
        if not text:
            continue
        try:
            seconds = float(text)
        except ValueError:
            seconds = 0.0
        if not 0 < seconds < 1e6:
            raise UsageError(f"{key}={text!r} is no number of seconds", hint="write for example 60")
        setattr(found, name, seconds)
    return found


def find_address(address: str = "", context: str = "") -> tuple[str, TlsFiles | None]:
    """The address meant, and the TLS files where it is to be reached with TLS."""
    environ = os.environ
    if address and context:
        raise UsageError("name the engine by its address or by a context, not both")
    if not address and not context:
        address = environ.get("DOCKER_HOST", "")
        if not address:
            context = environ.get("DOCKER_CONTEXT", "") or _current_context()
    if not address and context and context != "default":
        return _from_context(context)
    address = address or DEFAULT_ADDRESS
    if address.startswith(("tcp://", "https://", "http://")):
        return address, _tls_from_environment(address)
    return address, None


def _config_dir() -> str:
    return os.environ.get("DOCKER_CONFIG") or os.path.join(os.path.expanduser("~"), ".docker")


def _read_json(path: str) -> dict[str, Any]:
    try:
        with open(path, encoding="utf-8") as file:
            found = parse(file.read())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _current_context() -> str:
    return str(_read_json(os.path.join(_config_dir(), "config.json")).get("currentContext") or "")


def _from_context(name: str) -> tuple[str, TlsFiles | None]:
    """Address and TLS files of a context (docker/cli, cli/context/store)."""
    import hashlib

    digest = hashlib.sha256(name.encode("utf-8", "surrogateescape")).hexdigest()
    base = os.path.join(_config_dir(), "contexts")
    meta = _read_json(os.path.join(base, "meta", digest, "meta.json"))
    endpoint = (meta.get("Endpoints") or {}).get("docker") or {}
    address = str(endpoint.get("Host") or "")
    if meta.get("Name") != name or not address:
        raise UsageError(
            f'context "{name}": context not found', hint="`docker context ls` lists the contexts"
        )
    folder = os.path.join(base, "tls", digest, "docker")
    files = [os.path.join(folder, file) for file in ("ca.pem", "cert.pem", "key.pem")]
    ca, cert, key = (file if os.path.exists(file) else "" for file in files)
    skip = bool(endpoint.get("SkipTLSVerify"))
    if ca or cert or skip or address.startswith("https://"):
        return address, TlsFiles(ca, cert, key, not skip)
    return address, None


def _tls_from_environment(address: str) -> TlsFiles | None:
    verify = bool(os.environ.get("DOCKER_TLS_VERIFY"))
    asked = verify or bool(os.environ.get("DOCKER_TLS")) or address.startswith("https://")
    if not asked or address.startswith("http://"):
        return None
    folder = os.environ.get("DOCKER_CERT_PATH") or _config_dir()
    files = [os.path.join(folder, file) for file in ("ca.pem", "cert.pem", "key.pem")]
    ca, cert, key = (file if os.path.exists(file) else "" for file in files)
    return TlsFiles(ca, cert, key, verify or address.startswith("https://"))


def _dial(address: str, tls: TlsFiles | None) -> tuple[Dial, str]:
    """How to connect, and the address without secrets."""
    scheme, separator, rest = address.partition("://")
    if not separator and address.startswith("/"):
        scheme, rest = "unix", address
    if scheme == "unix":
        path = rest if rest.startswith("/") else "/" + rest
        return dial_unix(path), f"unix://{path}"
    if scheme in ("tcp", "http", "https"):
        host, port = _host_port(rest, 2376 if tls else 2375, address)
        shown = f"tcp://{'[' + host + ']' if ':' in host else host}:{port}"
        if tls is None:
            return dial_tcp(host, port), shown
        from jupyter_volcopy.core.transport import dial_tls

        return dial_tls(host, port, tls.ca, tls.cert, tls.key, tls.verify), shown
    if scheme == "ssh":
        from jupyter_volcopy.core.transport import dial_ssh

        place, _, path = rest.partition("/")
        user, at, host = place.rpartition("@")
        user = user.partition(":")[0]  # a password in an address is no secret; ssh takes none
        host, port = _host_port(host, 0, address) if ":" in host else (host, 0)
        if not host or host.startswith("-") or user.startswith("-"):
            raise UsageError(f"{address!r} does not name a host")
        shown = f"ssh://{user + at}{host}" + (f":{port}" if port else "")
        return dial_ssh(user, host, port, "/" + path if path else ""), shown
    raise UsageError(
        f"engine address {address.partition('@')[2] or address!r} is not understood",
        hint="use unix:///path, tcp://host:port or ssh://user@host",
    )


def _host_port(text: str, default: int, address: str) -> tuple[str, int]:
    text = text.partition("/")[0].rpartition("@")[2]
    host, port = text, ""
    if text.startswith("["):
        host, _, port = text[1:].partition("]")
        port = port.lstrip(":")
    elif text.count(":") == 1:
        host, _, port = text.partition(":")
    if not host or (port and not (port.isascii() and port.isdigit() and int(port) < 65536)):
        raise UsageError(f"{address.rpartition('@')[2]!r} does not name a host and port")
    return host, int(port) if port else default
