"""What the build of a wheel adds: JupyterLab's part, built with npm if it is not built yet.

An editable install, as developers and tests make it, goes without npm and without that part:
`scripts/build-lab` builds it and tells Jupyter where it is.
"""

from __future__ import annotations

import os
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

BUILT = "jupyter_volcopy/labextension"
INSTALLED = "share/jupyter/labextensions/jupyter-volcopy"


class LabHook(BuildHookInterface):
    """Builds the front end for wheels and source archives; puts it where Jupyter looks."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Build it unless it is there."""
        if version == "editable":
            return
        built = os.path.join(self.root, BUILT)
        if not os.path.exists(os.path.join(built, "static", "style.js")):
            from hatch_jupyter_builder import npm_builder

            npm_builder(
                self.target_name,
                version,
                path=os.path.join(self.root, "labextension"),
                build_cmd="build",
                npm=["jlpm"],
            )
        build_data["artifacts"].append(BUILT)
        if self.target_name == "wheel":
            build_data["shared_data"][BUILT] = INSTALLED
            build_data["shared_data"]["labextension/install.json"] = f"{INSTALLED}/install.json"
