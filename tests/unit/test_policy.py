"""Who may do what: the table, and what must hold for every rule."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jupyter_volcopy.core.policy import Action, Rule, Rules, Target, User, decide

MINE, OTHER, PUPIL = "a" * 64, "b" * 64, "c" * 64
ANN = User("ann", frozenset({"course"}), owned=frozenset({MINE}), reads=frozenset({PUPIL}))
GRADER = User("gus", writes=frozenset({PUPIL}))
ADMIN = User("root", admin=True)
SEE, READ, WRITE = Action.SEE, Action.READ, Action.WRITE
mine = Target("container", "jupyter-ann", MINE, "/home")
pupil = Target("container", "jupyter-pat", PUPIL, "/home")
other = Target("container", "jupyter-7", OTHER, "/home")
data = Target("volume", "data", path="/")
host = Target("host", path="/srv/course/x")
SITE = Rules(host_roots=("/srv/course",))


@pytest.mark.parametrize(
    ("user", "action", "target", "rules", "allowed", "as_owner"),
    [
        (ANN, SEE, mine, SITE, True, True),
        (ANN, READ, mine, SITE, True, True),
        (ANN, WRITE, mine, SITE, True, True),
        (ANN, READ, pupil, SITE, True, True),
        (ANN, WRITE, pupil, SITE, False, False),
        (ANN, SEE, other, SITE, False, False),
        (ANN, READ, data, SITE, False, False),
        (ANN, READ, host, SITE, False, False),
        (ANN, SEE, Target("engine"), SITE, False, False),
        (GRADER, WRITE, pupil, SITE, True, True),
        (GRADER, READ, pupil, SITE, False, False),
        (GRADER, READ, mine, SITE, False, False),
        (ADMIN, WRITE, other, SITE, True, False),
        (ADMIN, WRITE, data, SITE, True, False),
        (ADMIN, READ, host, SITE, True, False),
        (ADMIN, READ, Target("host", path="/srv/course"), SITE, True, False),
        (ADMIN, READ, Target("host", path="/srv/courses"), SITE, False, False),
        (ADMIN, READ, Target("host", path="/srv"), SITE, False, False),
        (ADMIN, READ, Target("host", path=""), SITE, False, False),
        (ADMIN, READ, Target("host", path="/srv/course/../x"), SITE, False, False),
        (ADMIN, READ, host, Rules(), False, False),
        (ANN, READ, mine, Rules(owners_use_root=True), True, False),
        (ANN, READ, pupil, Rules(owners_use_root=True), True, True),
        (ANN, WRITE, other, Rules(trusted=True), True, False),
        (ANN, WRITE, other, Rules(trusted=True, allowed_containers=("lab-*",)), False, False),
        (ADMIN, SEE, other, Rules(allowed_containers=("lab-*",)), False, False),
        (ADMIN, SEE, data, Rules(allowed_volumes=("x",)), False, False),
    ],
)
def test_table(user, action, target, rules, allowed, as_owner):
    found = decide(user, action, target, rules)
    assert (found.allowed, found.as_owner) == (allowed, as_owner), found


def test_rules_of_the_site():
    read = Rule("group:course", frozenset({READ}), "jupyter-7", path="/srv")
    rules = Rules(rules=(read,))
    assert decide(ANN, SEE, other, rules).allowed
    assert decide(ANN, READ, Target("container", "jupyter-7", OTHER, "/srv/x"), rules).allowed
    for path in ("/", "", "/home", "/srvx", "/srv/../etc"):
        assert not decide(ANN, READ, Target("container", "jupyter-7", OTHER, path), rules).allowed
    assert not decide(ANN, WRITE, Target("container", "jupyter-7", OTHER, "/srv"), rules).allowed
    assert not decide(GRADER, SEE, other, rules).allowed  # not of the group
    # a name is matched whole, never by its beginning
    assert not decide(ANN, SEE, Target("container", "jupyter-70", OTHER), rules).allowed
    volumes = Rules(rules=(Rule("*", frozenset({READ, WRITE}), "data", "volume"),))
    assert decide(GRADER, WRITE, data, volumes).allowed
    assert not decide(GRADER, SEE, Target("container", "data", OTHER), volumes).allowed


names = st.sampled_from(["ann", "gus", "pat", "a-b", "a--b", "A"])
users = st.builds(
    User,
    name=names,
    groups=st.frozensets(st.sampled_from(["course", "staff"])),
    owned=st.frozensets(st.sampled_from([MINE, OTHER])),
    reads=st.frozensets(st.sampled_from([PUPIL])),
    writes=st.frozensets(st.sampled_from([PUPIL])),
)
targets = st.builds(
    Target,
    kind=st.sampled_from(["container", "volume", "host", "engine"]),
    name=st.sampled_from(["jupyter-7", "jupyter-70", "data"]),
    id=st.sampled_from(["", MINE, OTHER, PUPIL]),
    path=st.sampled_from(["", "/", "/srv", "/srv/x", "/etc"]),
)
made_rules = st.builds(
    Rule,
    who=st.sampled_from(["ann", "group:course", "*", "group:", "nobody"]),
    actions=st.frozensets(st.sampled_from([SEE, READ, WRITE])),
    pattern=st.sampled_from(["jupyter-7", "jupyter-*", "*", ""]),
    kind=st.sampled_from(["container", "volume"]),
    path=st.sampled_from(["/", "/srv", "/etc"]),
)
actions = st.sampled_from([SEE, READ, WRITE])


@given(users, actions, targets, st.lists(made_rules, max_size=3), made_rules)
def test_a_rule_only_adds_and_only_where_it_holds(user, action, target, given_rules, more):
    before = decide(user, action, target, Rules(rules=tuple(given_rules)))
    after = decide(user, action, target, Rules(rules=(*given_rules, more)))
    assert after.allowed or not before.allowed
    if after.allowed and not before.allowed:
        assert more.holds_for(user, action, target)
    if before.allowed:
        assert after.as_owner == before.as_owner


@given(users, actions, targets)
def test_without_rules_only_what_the_hub_says(user, action, target):
    found = decide(user, action, target, Rules())
    if found.allowed:
        assert target.kind == "container"
        assert target.id in user.owned | user.reads | user.writes
        assert found.as_owner


@given(users, targets)
def test_who_may_read_or_write_may_see(user, target):
    rules = Rules()
    if decide(user, READ, target, rules).allowed or decide(user, WRITE, target, rules).allowed:
        assert decide(user, SEE, target, rules).allowed
