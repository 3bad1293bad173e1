"""What a local tree becomes on its way into a container, without a container."""

from __future__ import annotations

import os
from pathlib import Path

from jupyter_volcopy.core.localfs import Tree
from jupyter_volcopy.core.model import Kind
from jupyter_volcopy.core.outgoing import Outgoing, OutgoingOptions
from jupyter_volcopy.core.plan import Placement


def test_a_link_is_never_to_a_name_that_was_not_given(tmp_path: Path) -> None:
    """The first of two names became shorter while it was read: the second is a file of its own."""
    (tmp_path / "a").write_text("text")
    os.link(tmp_path / "a", tmp_path / "b")
    os.link(tmp_path / "a", tmp_path / "c")
    with Tree.open(str(tmp_path)) as tree:
        outgoing = Outgoing(tree, "", Placement("/d", "t"), OutgoingOptions())
        found = []
        for item in outgoing.items():
            found.append((item.entry.name, item.entry.kind, item.entry.link))
            if item.open is not None:
                fd, _ = item.open()
                assert item.sent is not None
                assert item.sent(item.entry.name != "t/a") is (item.entry.name != "t/a")
                os.close(fd)
    assert found == [
        ("t", Kind.DIRECTORY, ""),
        ("t/a", Kind.FILE, ""),
        ("t/b", Kind.FILE, ""),
        ("t/c", Kind.HARDLINK, "t/b"),
    ]
    assert [note.path for note in outgoing.failed] == ["a"]
