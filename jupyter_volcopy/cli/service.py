"""The service of a JupyterHub: every user her own containers, every administrator all of them.

The Hub starts it, as one of its services; docs/hub.md has the lines for jupyterhub_config.py.
Settings come from the environment (VOLCOPY_MAX_TRANSFERS=2), from a file of `c.Volcopy.NAME = ...`
lines, or one by one with --set.
"""

from __future__ import annotations

import os
from argparse import ArgumentParser, Namespace
from importlib import import_module
from typing import TYPE_CHECKING

from jupyter_volcopy.errors import BadOption, UsageError

if TYPE_CHECKING:
    from jupyter_volcopy.cli.door import Door
    from jupyter_volcopy.config import Volcopy

__all__ = ["SUMMARY", "add_arguments", "run"]

SUMMARY = "the service of a JupyterHub (started by the Hub)"


def add_arguments(parser: ArgumentParser) -> None:
    """Options of `volcopy service`."""
    parser.add_argument("--config", metavar="FILE", default="", help="settings, as Python lines")
    parser.add_argument(
        "--set", metavar="NAME=VALUE", action="append", default=[], help="one setting"
    )
    parser.add_argument("--verbose", action="store_true", help="log every request")


def _settings(file: str, pairs: list[str]) -> Volcopy:
    from traitlets import TraitError
    from traitlets.config import Config
    from traitlets.config.loader import ConfigFileNotFound, PyFileConfigLoader

    from jupyter_volcopy.config import Volcopy

    config = Config()
    if file:
        path = os.path.abspath(file)
        try:
            config = PyFileConfigLoader(os.path.basename(path), os.path.dirname(path)).load_config()
        except ConfigFileNotFound:
            raise UsageError(f"no such file: {file}") from None
    names = set(Volcopy.class_trait_names(config=True))
    try:
        made = Volcopy(config=config)
        for pair in pairs:
            name, equals, text = pair.partition("=")
            if name not in names or not equals:
                raise BadOption(f"no such setting: {pair}", hint="--set NAME=VALUE")
            made.set_from_text(name, text)
    except TraitError as error:
        raise BadOption(str(error)) from None
    return made


def run(args: Namespace, door: Door) -> int:
    """Run `volcopy service`."""
    import logging
    import sys

    try:
        # The service stands above the commands in the layers; this one only starts it.
        serve = import_module("jupyter_volcopy.web.hub").serve
    except ModuleNotFoundError as error:
        raise UsageError(
            f"{error.name} is not installed here", hint="pip install 'jupyter-volcopy[hub]'"
        ) from None
    settings = _settings(args.config, args.set)
    if args.host:
        settings.engine_url = args.host
    logging.basicConfig(
        stream=sys.stderr,
        level=logging.INFO,
        format="[%(levelname).1s %(asctime)s volcopy] %(message)s",
    )
    if not args.verbose:
        logging.getLogger("volcopy.requests").setLevel(logging.WARNING)
    serve(settings)
    return 0
