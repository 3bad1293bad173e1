"""A DockerSpawner that keeps what would be lost when it removes a container, and puts it back.

In `jupyterhub_config.py`::

    c.JupyterHub.spawner_class = "jupyter_volcopy.web.hub_spawner.KeepingDockerSpawner"
    c.KeepingDockerSpawner.keep_directory = "/srv/jupyterhub/kept"

Everything set for `c.DockerSpawner` holds. Whoever stops the server, the user, an administrator or
the culler of idle servers, the Hub removes the container the same way, and here it is looked at
before: what no volume keeps is rescued (`core.many_keeping`), also where the container ended by
itself. Into the next container of the same
server it is put before that starts. Where it cannot be saved, the container is not removed but
renamed, so that nobody's next start is held up and nothing is lost.
"""

from __future__ import annotations

import asyncio
import inspect
import time
from typing import Any

from dockerspawner import DockerSpawner
from traitlets import Float, Integer, Unicode

from jupyter_volcopy.core.engine import Engine
from jupyter_volcopy.core.many_keeping import Shelf
from jupyter_volcopy.errors import LimitExceeded, NoSuchContainer, VolcopyError

__all__ = ["KeepingDockerSpawner"]


class KeepingDockerSpawner(DockerSpawner):  # type: ignore[misc]
    """See the module."""

    keep_directory = Unicode(
        "", help="Directory of the Hub's host in which is kept what would be lost; empty: off."
    ).tag(config=True)

    keep_quota = Integer(1 << 30, min=0, help="Bytes kept for one user.").tag(config=True)

    keep_days = Float(30.0, min=0, help="Days it is kept; 0: for ever.").tag(config=True)

    extra_host_config: Any  # of DockerSpawner: a dictionary, or what makes one
    _told = False

    def _shelf(self) -> Shelf:
        return Shelf(self.keep_directory, self.keep_quota, self.keep_days)

    def _engine(self) -> Engine:
        from jupyter_volcopy.core.discovery import open_engine

        # as DockerSpawner finds it: DOCKER_HOST or the socket
        return open_engine()

    async def remove_object(self) -> Any:
        """Keep what would be lost, then remove the container."""
        if self.keep_directory and self.object_id:
            saved = await asyncio.to_thread(self._keep, self.object_id)
            if not saved:
                return None
        return await super().remove_object()

    def _keep(self, container: str) -> bool:
        """Rescue; whether the container may be removed now."""
        engine = self._engine()
        try:
            done = self._shelf().keep(engine, container, self.user.name, self.name)
            if done is not None:
                self.log.info(
                    "volcopy: kept %d files, %d bytes of %s in %s",
                    done.files,
                    done.bytes,
                    self._log_name,
                    done.destination,
                )
            return True
        except NoSuchContainer:
            return True
        except LimitExceeded as error:
            self.log.warning("volcopy: nothing kept of %s: %s", self._log_name, error)
            return True
        except VolcopyError as error:
            name = f"{self.object_name}-kept-{int(time.time())}"
            self.log.error(
                "volcopy: %s could not be saved, its container stays as %s: %s",
                self._log_name,
                name,
                error,
            )
            try:
                engine.json("POST", f"/containers/{container}/rename", {"name": name})
            except VolcopyError as problem:
                self.log.error("volcopy: it could not be renamed: %s", problem)
            return False
        finally:
            engine.close()

    async def create_object(self) -> Any:
        """Make the container, and put into it what was kept of the last one."""
        if not self.keep_directory:
            return await super().create_object()
        if not self._told:
            self._told = True
            self.extra_host_config = self._with_ours(self.extra_host_config)
        made = await super().create_object()
        await asyncio.to_thread(self._put_back, made[self.object_id_key])
        return made

    def _with_ours(self, given: Any) -> Any:
        """The site's `extra_host_config`, and that the engine itself removes nothing.

        With `remove`, DockerSpawner also asks the engine to remove the container the moment it
        ends (`AutoRemove`): then there would be nothing left to look at.
        """

        async def merged(spawner: Any) -> dict[str, Any]:
            found = given(spawner) if callable(given) else given
            if inspect.isawaitable(found):
                found = await found
            return {**found, "auto_remove": False}

        return merged

    def _put_back(self, container: str) -> None:
        engine = self._engine()
        try:
            done = self._shelf().put_back(engine, container, self.user.name, self.name)
            if done is not None:
                self.log.info("volcopy: put back %d files of %s", done.files, self._log_name)
        except VolcopyError as error:
            self.log.error(
                "volcopy: what was kept of %s could not be put back, it stays in %s: %s",
                self._log_name,
                self._shelf().place(self.user.name, self.name),
                error,
            )
        finally:
            engine.close()
