"""Engines that speak Docker's API and are not Docker (podman): what is asked of them afterwards.

Docker removes what stands at a name before it makes the entry that ends a sealed push (see `push`),
so the hidden name is gone when the seal is refused. Others refuse first. Whether an engine is
Docker is not guessed from a version: each answer of Docker's says so in its header `Server`; to any
other engine the question is put whether the hidden name is still there.
"""

from __future__ import annotations

from jupyter_volcopy.core.paths import join
from jupyter_volcopy.errors import NotFound, VolcopyError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from jupyter_volcopy.core.docker_engine import DockerEngine

__all__ = ["let_go"]


def let_go(engine: DockerEngine, container: str, directory: str, body: Any) -> None:
    """Remove the hidden name if the refusal of the seal did not.

    In a container that does not run there is no way to remove it: it is one more name of the last
    file, and harms nothing. Then `body.left` is set.

    Args:
        engine: of the container.
        container: id or name.
        directory: absolute.
        body: what was sent; its attribute `hidden` is the name.
    """
    hidden = getattr(body, "hidden", "")
    if not hidden:
        return
    path = join(directory, hidden)
    try:
        engine.stat(container, path)
        engine.execute(container, ["rm", "-rf", "--", path])
        engine.stat(container, path)
    except NotFound:
        return
    except VolcopyError:
        pass
    body.left = True
