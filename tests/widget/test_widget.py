"""The panel without a browser, on a real engine: traits both ways, marks, copies, faults, and what is shown as text."""

from __future__ import annotations

import asyncio
import json
import os
import threading
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("ipywidgets")

from jupyter_volcopy import VolcopyPanel
from jupyter_volcopy.core.background import Transfer, Transfers
from jupyter_volcopy.core.model import Change
from jupyter_volcopy.core.mounts import Place
from jupyter_volcopy.errors import EngineUnreachable, UsageError
from jupyter_volcopy.widget_text import Marker, error_html, escape, no_engine_html
from jupyter_volcopy.widget_words import Words
from tests.conftest import Docker, wait_for
from tests.web.running import RunningServer

ENGLISH = Words("en")
NOTEBOOK = "教程-研究功能介绍.ipynb"


@pytest.fixture
def panel(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., VolcopyPanel]]:
    """`panel(…) -> VolcopyPanel`, everything read; in English wherever the tests run."""
    monkeypatch.setenv("LC_ALL", "C.UTF-8")
    made: list[VolcopyPanel] = []

    def make(*args: Any, **settings: Any) -> VolcopyPanel:
        made.append(VolcopyPanel(*args, **settings))
        assert made[-1].wait(60)
        return made[-1]

    yield make
    for each in made:
        each.close()


def shown(panel: VolcopyPanel) -> list[str]:
    """The names in the rows that are shown."""
    return [row.entry.name for row in panel._list.children]


def marks(panel: VolcopyPanel) -> dict[str, str]:
    """The mark of each row."""
    words = ("partly lost", "lost", "kept", "shared", "no name", "image")
    return {
        row.entry.name: next((word for word in words if f">{word}<" in row.facts.value), "")
        for row in panel._list.children
    }


def test_traits_both_ways(
    docker: Docker, container: Callable[..., str], panel: Callable[..., VolcopyPanel]
) -> None:
    one, other = container("running", "-w", "/work"), container("created")
    docker.sh(one, "mkdir /work/sub && : > /work/a && : > /work/b && ln -s sub /work/link")
    found = panel()
    assert found.container == "" and found._work.layout.display == "none"

    found.container = one  # from code
    assert found.wait(60)
    assert found._choice.value == one and found.path == "/work"
    assert shown(found) == ["sub", "a", "b", "link"]

    found._choice.value = other  # as a browser does
    assert found.wait(60)
    assert found.container == other and found.path == "/"
    found._choice.value = one
    assert found.wait(60)

    found.selection = ["a"]
    assert [row.box.value for row in found._list.children] == [False, True, False, False]
    found._list.children[2].box.value = True
    assert found.selection == ("a", "b") and found._pull.description == "Pull 2 entries"

    seen: list[str] = []
    found.observe(lambda change: seen.append(change.new), "path")
    found._list.children[3].name.click()  # a link to a directory
    assert found.wait(60)
    assert found.path == "/work/link" and seen == ["/work/link"] and found.selection == ()
    found.path = "/work/../work/"
    assert found.wait(60)
    assert found.path == "/work" and shown(found) == ["sub", "a", "b", "link"]


def test_unknown_things_are_said(
    container: Callable[..., str], panel: Callable[..., VolcopyPanel]
) -> None:
    lab = container("running", "-w", "/etc")
    found = panel(lab)
    before = shown(found)
    found.go("/nowhere")  # not there: what is shown stays
    assert found.wait(60)
    assert "/nowhere" in found._message.value and found.path == "/etc" and shown(found) == before
    found.path = "/etc/passwd"  # asked for by code: it stays, and nothing is shown
    assert found.wait(60)
    assert found.path == "/etc/passwd" and shown(found) == [] and "passwd" in found._message.value
    found.container = "no-such-container-at-all"
    assert found.wait(60)
    assert "No such container" in found._message.value
    with pytest.raises(UsageError):
        found.pull()
    with pytest.raises(UsageError):
        found.forecast("fire")


def test_marks(
    docker: Docker,
    container: Callable[..., str],
    volume: Callable[..., str],
    panel: Callable[..., VolcopyPanel],
    tmp_path: Path,
) -> None:
    name = volume()
    lab = container(
        "running", "-v", f"{name}:/named", "-v", "/anonymous", "-v", f"{tmp_path}:/bind",
        "--tmpfs", "/memory", "-v", f"{volume()}:/home/data",
    )  # fmt: skip
    docker.sh(lab, "echo x > /etc/mine && echo x > /new && ln -s /named /way && echo x > /named/f")
    found = panel(lab, "/")
    said = marks(found)
    wanted = {
        "named": "kept", "anonymous": "no name", "bind": "kept", "memory": "lost", "new": "lost",
        "etc": "partly lost", "bin": "image", "home": "image", "way": "lost",
    }  # fmt: skip
    assert {key: said[key] for key in wanted} == wanted
    container("created", "-v", f"{name}:/also")
    found.refresh()
    assert found.wait(60)
    assert marks(found)["named"] == "shared"
    found.go("/way")
    assert found.wait(60)
    assert marks(found) == {"f": "shared"}  # by where it really is
    assert "also seen by" in found._mounts.value
    found.forecast("rm-v")
    assert found.wait(60)
    assert "would lose" in found._forecast.value and "/anonymous" in found._forecast.value


def test_marker_alone() -> None:
    place = Place(target="/a/b", kind="named", origin="flag", why="kept")
    changes = [
        Change(path, kind)
        for path, kind in (("/a", "C"), ("/a/b", "A"), ("/c", "C"), ("/c/d", "D"))
    ]
    marker = Marker([place], changes, ENGLISH)
    words = [marker.mark(path).word for path in ("/a", "/a/b", "/a/b/c", "/c", "/c/e", "/ab")]
    assert words == ["image", "kept", "kept", "image", "image", "image"]
    assert Marker([place], None, ENGLISH).mark("/x").word == ""


def test_pull_push_rescue(
    docker: Docker,
    container: Callable[..., str],
    panel: Callable[..., VolcopyPanel],
    tmp_path: Path,
) -> None:
    lab = container("running", "-w", "/work")
    docker.sh(
        lab,
        "mkdir -p /work/sub && echo x > /work/sub/x && chmod 4755 /work/sub/x && ln -s sub /work/link",
    )
    docker.write(lab, f"/work/{NOTEBOOK}", b"{}")
    found = panel(lab)
    found.selection = [NOTEBOOK, "sub"]
    (tmp_path / "in").mkdir()
    (tmp_path / "way").symlink_to("in")
    transfer = found.pull(str(tmp_path / "way"))
    assert found.wait(60) and transfer.state == "done", transfer.error
    assert (tmp_path / "in" / NOTEBOOK).read_bytes() == b"{}"
    assert (tmp_path / "in" / "sub" / "x").stat().st_mode & 0o7777 == 0o755  # always safe

    (tmp_path / "in" / NOTEBOOK).write_text("mine")
    transfer = found.pull(str(tmp_path / "in"), existing="keep")
    assert found.wait(60) and transfer.state == "done"
    assert (tmp_path / "in" / NOTEBOOK).read_text() == "mine"

    transfer = found.pull(str(tmp_path / "nowhere"))
    assert found.wait(60) and transfer.state == "failed"
    assert "is no directory here" in found._moves.rows[0].text.value

    found.path = "/work/link"
    assert found.wait(60)
    found._push_from.value = f"{tmp_path}/in/*.ipynb\n"
    found._push.click()
    assert found.wait(60)
    assert docker.read(lab, f"/work/sub/{NOTEBOOK}") == b"mine" and NOTEBOOK in shown(found)
    assert found._push_from.value == ""

    found.rescue(str(tmp_path / "saved"))
    assert found.wait(60)
    assert (tmp_path / "saved" / "manifest.json").is_file()
    assert "volcopy restore" in found._moves.rows[0].text.value
    assert "verified" in found._moves.rows[0].text.value


def test_volume(
    docker: Docker,
    container: Callable[..., str],
    volume: Callable[..., str],
    panel: Callable[..., VolcopyPanel],
    tmp_path: Path,
) -> None:
    """A volume is chosen, browsed and copied as a container is; it has no forecast."""
    data = volume()
    lab = container("running", "-v", f"{data}:/srv", "-w", "/srv")
    docker.sh(
        lab, "mkdir /srv/sub && echo v > /srv/sub/v && ln -s sub /srv/in && ln -s /etc /srv/out"
    )
    found = panel()
    assert f"volume={data}" in [value for _, value in found._choice.options]
    found._choice.value = f"volume={data}"
    assert found.wait(60) and found.path == "/"
    assert shown(found) == ["sub", "in", "out"] and set(marks(found).values()) == {"kept"}
    assert f"used by {lab}" in found._facts.value
    assert found._kept_section.layout.display == "none"
    found.path = "/in"
    assert found.wait(60) and shown(found) == ["v"]
    found.selection = ["v"]
    transfer = found.pull(str(tmp_path))
    assert found.wait(60) and transfer.state == "done", transfer.error
    assert (tmp_path / "v").read_text() == "v\n"
    (tmp_path / "w").write_text("w")
    transfer = found.push(str(tmp_path / "w"))
    assert found.wait(60) and transfer.state == "done", transfer.error
    assert docker.read(lab, "/srv/sub/w") == b"w"
    found.go("/out")
    assert found.wait(60) and "outside of the volume" in found._message.value
    with pytest.raises(UsageError, match="a volume stays"):
        found.forecast()
    found.container = lab
    assert found.wait(60) and found._kept_section.layout.display is None


def test_chinese(
    docker: Docker,
    container: Callable[..., str],
    panel: Callable[..., VolcopyPanel],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """By the argument, or by the locale."""
    lab = container("running", "-w", "/work")
    docker.sh(lab, ": > /work/a")
    found = panel(lab, language="zh")
    assert found._choice.description == "容器" and "运行中" in found._facts.value
    assert ">丢失<" in found._list.children[0].facts.value
    found.selection = ["a"]
    assert found._pull.description == "拉取 1 个条目" and "已选 1 个" in found._status.value
    monkeypatch.setenv("LC_ALL", "zh_CN.UTF-8")
    nowhere = panel(address="unix:///nowhere/docker.sock")
    assert "此处没有 Docker 引擎" in nowhere._nothing.value
    assert "<code>docker ps</code>" in nowhere._nothing.value
    monkeypatch.setenv("LC_ALL", "C")
    assert panel(address="unix:///nowhere/docker.sock")._choice.description == "Container"


def test_over_a_service(
    docker: Docker,
    container: Callable[..., str],
    volume: Callable[..., str],
    panel: Callable[..., VolcopyPanel],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> None:
    """Without a socket, through the service of VOLCOPY_SERVICE_URL: the same, files land where the kernel is."""
    data = volume()
    lab = container("running", "-v", f"{data}:/srv", "-w", "/work")
    docker.sh(lab, "mkdir -p /work && echo lost > /work/lost && echo kept > /srv/kept")
    server = RunningServer(tmp_path / "server", requests_per_second=0).start()
    request.addfinalizer(server.stop)
    with monkeypatch.context() as where:  # the docker command of this test still has its engine
        where.setenv("DOCKER_HOST", f"unix://{tmp_path}/no.sock")
        where.setenv("VOLCOPY_SERVICE_URL", server.url)
        where.setenv("VOLCOPY_TOKEN", server.token)
        found = panel(lab)
    assert shown(found) == ["lost"] and marks(found) == {"lost": "lost"}
    found.selection = ["lost"]
    (tmp_path / "in").mkdir()
    transfer = found.pull(str(tmp_path / "in"))
    assert found.wait(60) and transfer.state == "done", transfer.error
    assert (tmp_path / "in" / "lost").read_text() == "lost\n"
    (tmp_path / "new").write_text("new")
    transfer = found.push(str(tmp_path / "new"))
    assert found.wait(60) and transfer.state == "done", transfer.error
    assert docker.read(lab, "/work/new") == b"new" and "new" in shown(found)
    found.forecast("rm")
    assert found.wait(60) and "/work/lost" in found._forecast.value
    transfer = found.rescue(str(tmp_path / "saved"))
    assert found.wait(60) and transfer.state == "done", transfer.error
    noted = json.loads((tmp_path / "saved" / "manifest.json").read_text())
    assert "/work/lost" in {one["path"] for one in noted["entries"]}
    found.container = f"volume={data}"
    assert found.wait(60) and shown(found) == ["kept"]
    server.stop()
    found.refresh()
    assert found.wait(120)
    assert "No Docker engine here" in found._nothing.value


def test_upload(
    docker: Docker, container: Callable[..., str], panel: Callable[..., VolcopyPanel]
) -> None:
    lab = container("created")
    found = panel(lab, "/tmp")

    def upload(*names: str) -> None:
        found._upload.set_trait(
            "value",
            tuple(
                {
                    "name": name,
                    "type": "",
                    "size": 1,
                    "content": memoryview(b"u"),
                    "last_modified": datetime(2025, 5, 31, tzinfo=timezone.utc),
                }
                for name in names
            ),
        )
        found._push.click()
        assert found.wait(60)

    upload(NOTEBOOK, "b")
    assert found._moves.rows[0].transfer.state == "done", found._moves.rows[0].text.value
    assert "volcopy-upload" not in found._moves.rows[0].text.value
    assert {NOTEBOOK, "b"} <= set(shown(found)) and found._upload.value == ()
    for name in ("../evil", "..", ""):
        upload(name)
        assert "cannot be the name of a file" in found._message.value
    assert len(found._moves.rows) == 1


def test_cancel(
    docker: Docker,
    container: Callable[..., str],
    panel: Callable[..., VolcopyPanel],
    tmp_path: Path,
) -> None:
    lab = container("running", "-w", "/work")
    docker.sh(lab, "truncate -s 8G /work/huge")
    found = panel(lab)
    found.selection = ["huge"]
    transfer = found.pull(str(tmp_path))
    row = found._moves.rows[0]
    wait_for(lambda: transfer.meter.bytes > 0 or transfer.state != "running", "the first bytes")
    row.button.click()
    assert found.wait(60)
    assert transfer.state == "cancelled" and list(tmp_path.iterdir()) == []
    assert "still there" in row.text.value
    row.button.click()
    assert found._moves.rows == []


def test_pages_and_filter(
    docker: Docker, container: Callable[..., str], panel: Callable[..., VolcopyPanel]
) -> None:
    lab = container("running", "-w", "/many")
    docker.sh(lab, "cd /many && for i in $(seq 100 130); do : > f$i; done")
    found = panel(lab, page_size=10)
    assert shown(found) == [f"f{number}" for number in range(100, 110)]
    for _ in range(5):
        found._next.click()
    assert shown(found) == ["f130"] and "31 to 31 of 31" in found._status.value
    found._filter.value = "F12"
    assert len(shown(found)) == 10 and found._next.disabled
    found._every_button.click()
    assert found.selection == tuple(f"f{number}" for number in range(120, 130))
    found._none_button.click()
    assert found.selection == ()


def test_names_are_text(
    docker: Docker, container: Callable[..., str], panel: Callable[..., VolcopyPanel]
) -> None:
    """Markup, control characters and bytes that are no UTF-8: nothing of it acts, all can be pulled."""
    lab = container("running", "-w", "/work")
    docker.sh(
        lab,
        "cd /work && : > '<b>x' && : > \"$(printf 'a\\033[31m')\" && : > \"$(printf 'q\\377')\"",
    )
    found = panel(lab)
    assert set(shown(found)) == {"<b>x", "a\x1b[31m", "q\udcff"}
    for row in found._list.children:
        for text in (row.name.description, row.name.tooltip, row.facts.value, row.box.tooltip):
            assert text.isprintable() and text.encode("utf-8")
        assert "<b>" not in row.facts.value
    found.selection = shown(found)
    folder = Path(os.environ["HOME"])
    transfer = found.pull(str(folder))
    assert found.wait(60) and transfer.state == "done", transfer.error
    assert {os.fsencode(name) for name in os.listdir(folder)} >= {b"<b>x", b"a\x1b[31m", b"q\xff"}
    assert "<b>x" not in found._moves.rows[0].title.value + found._moves.rows[0].text.value


def test_no_engine(panel: Callable[..., VolcopyPanel]) -> None:
    found = panel("lab", address="unix:///nowhere/docker.sock")
    assert "No Docker engine here" in found._nothing.value
    assert found._without.layout.display is None and found._work.layout.display == "none"
    error = EngineUnreachable("<b>gone", hint="<i>do")
    text = no_engine_html(ENGLISH, error, {"BINDER_SERVICE_HOST": "x"})
    assert "This is Binder" in text and "&lt;b&gt;gone" in text and "<i>" not in text
    assert "This is Binder" not in no_engine_html(ENGLISH, error, {})
    assert error_html(error).startswith('<div role="alert"')
    assert escape("\x1b<&'\"") == "\\x1b&lt;&amp;&#x27;&quot;"


def test_engine_comes_back(
    container: Callable[..., str], panel: Callable[..., VolcopyPanel], tmp_path: Path
) -> None:
    lab = container("running")
    way = tmp_path / "docker.sock"
    found = panel(address=f"unix://{way}")
    assert "No Docker engine here" in found._nothing.value
    way.symlink_to("/var/run/docker.sock")
    if not Path("/var/run/docker.sock").exists():
        pytest.skip("the engine is not at the default socket")
    found._retry_button.click()
    assert found.wait(60)
    assert found._without.layout.display == "none"
    assert lab in [value for _, value in found._choice.options]


def test_kernel_is_not_held(
    docker: Docker, container: Callable[..., str], panel: Callable[..., VolcopyPanel]
) -> None:
    """The engine is asked in other threads only, also for the first time."""
    lab = container("running")
    found = panel()
    asked: list[threading.Thread] = []
    engine = found._asking.engine()
    own = engine.container

    def noted(name: str) -> Any:
        asked.append(threading.current_thread())
        return own(name)

    engine.container = noted  # type: ignore[method-assign]

    async def as_a_kernel() -> None:
        found.container = lab
        found._up_button.click()
        await asyncio.sleep(0)

    asyncio.run(as_a_kernel())
    assert found.wait(60)
    assert asked and threading.main_thread() not in asked


def test_a_copy_that_is_over_before_its_row_is_made(
    container: Callable[..., str],
    panel: Callable[..., VolcopyPanel],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The directory is read again all the same."""
    start = Transfers.start

    def started(*args: Any, **options: Any) -> Transfer:
        transfer = start(*args, **options)
        wait_for(lambda: transfer.state == "done", "the copy")
        return transfer

    monkeypatch.setattr(Transfers, "start", started)
    lab = container("running", "-w", "/work")
    found = panel(lab)
    (tmp_path / "quick").write_text("quick")
    found.push(str(tmp_path / "quick"))
    assert found.wait(60) and "quick" in shown(found)
