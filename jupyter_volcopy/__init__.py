"""Copy files between notebooks, the host, containers and volumes, never half.

::

    import jupyter_volcopy

    report = jupyter_volcopy.copy("lab:/home/nb/report.ipynb", ".")

In a notebook, `%load_ext jupyter_volcopy` gives the magics `%dcp` and `%volcopy`. Everything is
imported when it is first used: the command `dcp` starts with this module.
"""

from __future__ import annotations

from jupyter_volcopy._version import __version__

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from jupyter_volcopy.core.control import Cancel, Meter
    from jupyter_volcopy.core.copier import Copier
    from jupyter_volcopy.core.endpoint import Endpoint
    from jupyter_volcopy.core.engine import Engine
    from jupyter_volcopy.core.report import Report
    from jupyter_volcopy.widget import VolcopyPanel

__all__ = [
    "Copier",
    "VolcopyPanel",
    "__version__",
    "copy",
    "load_ipython_extension",
    "unload_ipython_extension",
]


def copy(
    sources: str | Endpoint | Sequence[str | Endpoint],
    destination: str | Endpoint,
    *,
    host: str = "",
    context: str = "",
    meter: Meter | None = None,
    cancel: Cancel | None = None,
    **options: Any,
) -> Report:
    """Copy as the command `dcp` does.

    Args:
        sources: one path or several, spelled as for `dcp`: `PATH`, `CONTAINER:PATH`,
            `volume=NAME:PATH`, patterns in a container included.
        destination: where it goes, spelled likewise. Several sources need an existing directory.
        host: address of the engine; "" for the one Docker itself would use, or the service named
            by `VOLCOPY_SERVICE_URL` where there is none.
        context: Docker context, instead of an address.
        meter: counters to look at from another thread.
        cancel: token by which another thread can end the copy.
        **options: fields of `core.options.CopyOptions`, as `archive=True`, `exclude=["*.tmp"]`.

    Returns:
        What was done. `report.ok` is False if something asked for did not arrive; `report.failed`
        names it.

    Raises:
        VolcopyError: one of `jupyter_volcopy.errors`; what was at the destination is still there.
    """
    from jupyter_volcopy.core.copier import Copier
    from jupyter_volcopy.core.discovery import open_engine

    engine: Engine = open_engine(host, context)
    if not host and not context:
        from jupyter_volcopy.core.service_engine import open_service, service_meant

        service = service_meant()
        if service:
            engine = open_service(service)
    try:
        return Copier(engine).copy(sources, destination, meter=meter, cancel=cancel, **options)
    finally:
        engine.close()


def _jupyter_labextension_paths() -> list[dict[str, str]]:
    """Where JupyterLab finds its part, once it is built."""
    return [{"src": "labextension", "dest": "jupyter-volcopy"}]


def _jupyter_server_extension_points() -> list[dict[str, Any]]:
    """What the Jupyter server loads."""
    from jupyter_volcopy.web.server import VolcopyExtension

    return [{"module": "jupyter_volcopy", "app": VolcopyExtension}]


def load_ipython_extension(shell: Any) -> None:
    """Give an IPython shell `%dcp` and `%volcopy` (`%load_ext jupyter_volcopy`)."""
    from jupyter_volcopy.magic import load

    load(shell)


def unload_ipython_extension(shell: Any) -> None:
    """Take them away again (`%unload_ext jupyter_volcopy`)."""
    from jupyter_volcopy.magic import unload

    unload(shell)


def __getattr__(name: str) -> Any:
    if name == "Copier":
        from jupyter_volcopy.core.copier import Copier

        return Copier
    if name == "VolcopyPanel":
        from jupyter_volcopy.widget import VolcopyPanel

        return VolcopyPanel
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
