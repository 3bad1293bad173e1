"""One component of a pattern against one name, with `fnmatch` as oracle."""

from __future__ import annotations

from fnmatch import fnmatchcase

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jupyter_volcopy.core.patterns import matcher


@given(
    pattern=st.lists(st.sampled_from(["*", "?", "a", "b", "[ab]", "[!a]", "."]), max_size=8),
    name=st.text("ab.c", min_size=1, max_size=10),
)
def test_as_fnmatch(pattern: list[str], name: str) -> None:
    joined = "".join(pattern)
    hidden = name.startswith(".") and not joined.startswith(".")
    assert matcher(joined)(name) is (fnmatchcase(name, joined) and not hidden)


@pytest.mark.parametrize("pattern", ["*a" * 30 + "b", "*" * 60 + "b", "*?" * 40 + "b"])
def test_no_name_takes_for_ever(pattern: str) -> None:
    assert matcher(pattern)("a" * 255) is False
    assert matcher(pattern)("a" * 254 + "b") is True
