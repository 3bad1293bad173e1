"""Names that are no UTF-8: the engine's diff has lost their bytes; forecast and rescue have not."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from jupyter_volcopy.core.discovery import open_engine
from jupyter_volcopy.core.removal import forecast
from jupyter_volcopy.core.rescue import rescue
from tests.conftest import Docker
from tests.engine.ways import engine_socket

MAKE = r"""
mkdir /odd && cd /odd
printf 1 > "$(printf 'a\377')" && printf 2 > "$(printf 'a\376')"
mkdir "$(printf 'd\346\225')" && printf 3 > "$(printf 'd\346\225')/in.txt"
printf 4 > "$(printf 'q\357\277\275')"
"""
NAMES = {b"a\xff": b"1", b"a\xfe": b"2", b"d\xe6\x95/in.txt": b"3", b"q\xef\xbf\xbd": b"4"}


@pytest.mark.engine
@pytest.mark.parametrize("state", ["running", "exited"])
def test_forecast_and_rescue(
    docker: Docker, container: Callable[..., str], tmp_path: Path, state: str
) -> None:
    lab = container("running")
    docker.sh(lab, MAKE)
    if state == "exited":
        docker("kill", lab)
    engine = open_engine(engine_socket())
    try:
        changed = {os.fsencode(one.path) for one in engine.changes(engine.container(lab).id)}
        assert {b"/odd/" + name for name in NAMES} <= changed
        lost = {os.fsencode(item.path) for item in forecast(engine, lab, "rm").lost}
        assert lost == {b"/odd/" + name for name in NAMES}
        done = rescue(engine, lab, str(tmp_path / "saved"))
        assert done.ok and done.files == len(NAMES) and done.verified == len(NAMES)
    finally:
        engine.close()
    contents = sorted(one.read_bytes() for one in (tmp_path / "saved").rglob("*") if one.is_file())
    assert [text for text in contents if len(text) == 1] == sorted(NAMES.values())
