"""The texts of the panel: every one is there in Chinese, and none that is not used."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("ipywidgets")

from jupyter_volcopy.core.model import Kind
from jupyter_volcopy.widget_words import CHINESE, Words, locale_language

PACKAGE = Path(__file__).resolve().parents[2] / "jupyter_volcopy"
# What is looked up by a value: states, marks, kinds.
BY_VALUE = {
    *(["running", "created", "paused", "restarting", "removing", "exited", "dead"]),
    *("kept", "shared", "lost", "partly lost", "no name", "image"),
    *("bind", "named", "anonymous", "tmpfs", "folder", "link"),
    *(kind.value for kind in Kind),
}


def texts() -> Iterator[str]:
    """Every text that is looked up in the sources of the panel."""
    for path in PACKAGE.glob("widget*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call):
                continue
            called = ast.unparse(node.func)
            if called in ("say", "self._words", "self._say", "_with_code"):
                given = node.args[1] if called == "_with_code" else node.args[0]
            elif called.endswith(("say.count", "_words.count")):
                given = node.args[2]
            else:
                continue
            for one in ast.walk(given):
                if isinstance(one, ast.Constant) and isinstance(one.value, str):
                    yield one.value


def test_all_are_there_and_no_others() -> None:
    # A sentence kept in a name before it is looked up is found by its text alone.
    plain = "".join(path.read_text() for path in PACKAGE.glob("widget_text.py"))
    found = set(texts()) | {text for text in CHINESE if f'"{text}"' in plain}
    assert found - set(CHINESE) - BY_VALUE == set()
    assert set(CHINESE) - found - BY_VALUE == set()
    assert set(CHINESE) >= BY_VALUE


@pytest.mark.parametrize("english", sorted(CHINESE))
def test_places_are_kept(english: str) -> None:
    def places(text: str) -> list[str]:
        return sorted(re.findall(r"\{\d\}", text))

    assert places(CHINESE[english]) == places(english)


def test_language() -> None:
    assert (
        locale_language({"LC_ALL": "", "LC_MESSAGES": "zh_CN.UTF-8", "LANG": "en"}) == "zh_CN.UTF-8"
    )
    assert locale_language({}) == ""
    assert Words("zh_CN")("Pull") == "拉取" and Words("fr")("Pull") == "Pull"
    assert Words("en").count(1, "{0} entry", "{0} entries") == "1 entry"
    assert Words("zh").count(1, "{0} entry", "{0} entries") == "1 个条目"
