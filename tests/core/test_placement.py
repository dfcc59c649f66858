"""Whom a run is offered to."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyside.core.assignment import Assignment
from keyside.core.placement import Candidate, Nobody, Wait, choose, find_model
from keyside.core.run import RunRequest
from keyside.protocol.entities import Connection, Model

REQUEST = RunRequest(model="test/m")


def offering(*models: str, provider: str = "test", id: str = "c1") -> Connection:
    return Connection(id=id, provider=provider, models=[Model(id=model) for model in models])


def candidate(name: str, **more: Any) -> Candidate:
    fields: dict[str, Any] = {
        "key": f"1/{name}",
        "executor_id": name,
        "name": name.title(),
        "kind": "browser",
        "session_id": f"s-{name}",
        "connections": [offering("m")],
        "max_runs": 8,
    }
    return Candidate(**{**fields, **more})


def away(name: str, **more: Any) -> Candidate:
    return candidate(name, session_id=None, **more)


def chosen(request: RunRequest, *candidates: Candidate, tried: frozenset[str] = frozenset()) -> str:
    """The name of the one that is chosen, wherever it stands in the list."""
    found = {choose(request, order, tried) for order in (candidates, candidates[::-1])}
    assert len(found) == 1
    assignment = found.pop()
    assert isinstance(assignment, Assignment), assignment
    return assignment.executor_id


@pytest.mark.rule("R2")
def test_the_assignment_names_the_executor_the_socket_and_the_model_as_the_upstream_knows_it() -> None:
    desk = candidate("desk", connections=[offering("x", id="c0"), offering("m", id="c7")])
    assert choose(REQUEST, [desk], frozenset()) == Assignment(
        key="1/desk",
        executor_id="desk",
        name="Desk",
        kind="browser",
        session_id="s-desk",
        model="m",
        provider="test",
        connection_id="c7",
        announcement=desk.announcement,
    )


@pytest.mark.rule("R2")
def test_the_one_that_the_page_prefers_comes_first() -> None:
    idle = candidate("idle", last_active_at=9)
    busy = candidate("busy", running=5)
    assert chosen(replace(REQUEST, prefer_executor_id="busy"), idle, busy) == "busy"


@pytest.mark.rule("R2")
def test_a_preferred_one_that_cannot_do_it_is_passed_over() -> None:
    request = replace(REQUEST, prefer_executor_id="wanted")
    other = candidate("other")
    for wanted in (
        candidate("wanted", connections=[offering("x")]),
        candidate("wanted", running=8),
        away("wanted"),
    ):
        assert chosen(request, wanted, other) == "other"


@pytest.mark.rule("R2")
def test_then_the_least_loaded_one() -> None:
    assert chosen(REQUEST, candidate("a", running=2, last_active_at=9), candidate("b", running=1)) == "b"


@pytest.mark.rule("R2")
def test_then_the_one_that_was_active_last() -> None:
    assert chosen(REQUEST, candidate("a", last_active_at=1), candidate("b", last_active_at=2)) == "b"


@pytest.mark.rule("R2")
def test_shared_ones_come_last() -> None:
    shared = candidate("shared", kind="shared", own=False, last_active_at=9)
    assert chosen(REQUEST, shared, candidate("own", running=7)) == "own"
    assert chosen(REQUEST, shared, candidate("own", running=8)) == "shared"
    assert chosen(REQUEST, shared) == "shared"


@pytest.mark.rule("R2")
def test_each_is_tried_once_each_time_it_announces_itself() -> None:
    first, second = candidate("first", last_active_at=2), candidate("second", last_active_at=1)
    assert chosen(REQUEST, first, second, tried=frozenset({first.announcement})) == "second"
    both = frozenset({first.announcement, second.announcement})
    assert choose(REQUEST, [first, second], both) == Nobody("no_executor")
    assert chosen(REQUEST, replace(first, session_id="s-again"), second, tried=both) == "first"
    assert chosen(REQUEST, replace(first, announced=2), second, tried=both) == "first"


@pytest.mark.rule("R3")
def test_a_model_that_none_ever_offered_is_not_found_at_once() -> None:
    request = replace(REQUEST, model="test/unknown")
    assert choose(request, [], frozenset()) == Nobody("model_not_found")
    assert choose(request, [candidate("desk"), away("phone")], frozenset()) == Nobody("model_not_found")


@pytest.mark.rule("R3")
def test_a_model_of_an_absent_executor_waits_in_a_chat_and_fails_for_a_program() -> None:
    absent = [away("desk"), candidate("phone", connections=[offering("x")])]
    assert choose(REQUEST, absent, frozenset()) == Wait()
    assert choose(replace(REQUEST, waits=False), absent, frozenset()) == Nobody("no_executor")


@pytest.mark.rule("R3")
def test_a_run_that_all_present_ones_refused_waits_for_an_absent_one() -> None:
    tried = frozenset({candidate("desk").announcement})
    assert choose(REQUEST, [candidate("desk"), away("phone")], tried) == Wait()


@pytest.mark.rule("R7")
@pytest.mark.parametrize("waits", [True, False])
def test_runs_beyond_what_an_executor_takes_wait(waits: bool) -> None:
    full = candidate("desk", running=2, max_runs=2)
    assert choose(replace(REQUEST, waits=waits), [full], frozenset()) == Wait()
    assert chosen(REQUEST, replace(full, running=1)) == "desk"


@pytest.mark.rule("R2")
def test_a_named_executor_is_never_replaced_by_another() -> None:
    request = replace(REQUEST, executor_id="desk")
    assert chosen(request, candidate("desk", running=5), candidate("phone")) == "desk"
    assert choose(request, [candidate("phone")], frozenset()) == Nobody("model_not_found")
    assert choose(request, [candidate("phone"), away("desk")], frozenset()) == Wait()
    tried = frozenset({candidate("desk").announcement})
    assert choose(request, [candidate("desk"), candidate("phone")], tried) == Nobody("no_executor")


@pytest.mark.rule("R2")
def test_a_named_session_takes_the_model_as_given_and_never_falls_back() -> None:
    request = RunRequest(model="whatever", session_id="s-script")
    script = candidate("script", kind="plain", connections=[])
    assignment = choose(request, [candidate("desk"), script], frozenset())
    assert isinstance(assignment, Assignment)
    assert (assignment.executor_id, assignment.model, assignment.provider, assignment.connection_id) == (
        "script",
        "whatever",
        None,
        None,
    )
    assert choose(request, [candidate("desk")], frozenset()) == Nobody("session_gone")
    assert choose(request, [script], frozenset({script.announcement})) == Nobody("session_gone")


@pytest.mark.rule("R2")
def test_a_named_session_of_a_framed_executor_is_told_the_connection_that_has_the_model() -> None:
    assignment = choose(RunRequest(model="test/m", session_id="s-desk"), [candidate("desk")], frozenset())
    assert isinstance(assignment, Assignment)
    assert (assignment.model, assignment.provider, assignment.connection_id) == ("m", "test", "c1")


@pytest.mark.rule("R2", "E6")
def test_a_plain_executor_gets_a_run_only_when_its_session_is_named() -> None:
    script = candidate("script", kind="plain")
    assert choose(REQUEST, [script], frozenset()) == Nobody("model_not_found")
    assert chosen(REQUEST, script, candidate("desk")) == "desk"


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        (RunRequest("m"), ("c1", "m")),
        (RunRequest("b/m"), ("c2", "m")),
        (RunRequest("m", provider="b"), ("c2", "m")),
        (RunRequest("b/m", provider="b"), ("c2", "m")),
        (RunRequest("b/m", provider="a"), ("c3", "b/m")),
        (RunRequest("a/b/m"), ("c3", "b/m")),
        (RunRequest("only-here"), ("c2", "only-here")),
        (RunRequest("M"), None),
        (RunRequest("c/m"), None),
        (RunRequest("m", provider="c"), None),
    ],
)
def test_a_model_is_named_with_its_provider_or_by_its_id_alone(
    asked: RunRequest, found: tuple[str, str] | None
) -> None:
    connections = [
        offering("m", provider="a", id="c1"),
        offering("b/m", provider="a", id="c3"),
        offering("m", "only-here", provider="b", id="c2"),
    ]
    match = find_model(asked, connections)
    assert (match and (match[0].id, match[1])) == found


candidates = st.builds(
    candidate,
    st.sampled_from(["a", "b", "c", "d"]),
    session_id=st.none() | st.sampled_from(["s1", "s2", "s3"]),
    connections=st.sampled_from([[], [offering("m")], [offering("x")]]),
    running=st.integers(0, 3),
    max_runs=st.integers(1, 3),
    own=st.booleans(),
)
requests = st.builds(
    RunRequest,
    model=st.sampled_from(["test/m", "m", "x", "unknown"]),
    executor_id=st.none() | st.sampled_from(["a", "b"]),
    prefer_executor_id=st.none() | st.sampled_from(["a", "b"]),
    waits=st.booleans(),
)


@pytest.mark.rule("R2", "R7")
@given(asked=requests, them=st.lists(candidates, max_size=5), data=st.data())
def test_whoever_is_chosen_is_here_has_the_model_and_room_and_was_not_tried(
    asked: RunRequest, them: list[Candidate], data: st.DataObject
) -> None:
    announcements = [one.announcement for one in them]
    tried = frozenset(data.draw(st.lists(st.sampled_from(announcements), max_size=3))) if announcements else frozenset()
    found = choose(asked, them, tried)
    able = [
        one
        for one in them
        if one.session_id and one.running < one.max_runs and one.announcement not in tried
        if find_model(asked, one.connections) and asked.executor_id in (None, one.executor_id)
        if asked.executor_id is None
        or one.own
        or not any(other.own for other in them if other.executor_id == asked.executor_id)
    ]
    assert isinstance(found, Assignment) == bool(able)
    if isinstance(found, Assignment):
        assert (found.key, found.session_id) in {(one.key, one.session_id) for one in able}


@pytest.mark.rule("R2")
def test_a_named_executor_of_ones_own_is_meant_where_a_shared_one_has_the_same_id() -> None:
    own = candidate("desk", session_id=None)
    shared = candidate("desk", key="9/desk", own=False, kind="shared")
    assert choose(replace(REQUEST, executor_id="desk"), [shared, own], frozenset()) == Wait()


@pytest.mark.rule("E8")
@pytest.mark.parametrize(
    ("asked", "connection", "found"),
    [
        ((None, None), (None, None), (None, None)),
        ((None, None), (5, 6), (5, 6)),
        ((1, 2), (None, None), (1, 2)),
        ((1, None), (5, 6), (1, 6)),
        ((None, 2), (5, None), (5, 2)),
    ],
)
@pytest.mark.parametrize("session_id", [None, "s-desk"])
def test_the_times_of_the_request_win_over_those_of_the_connection(
    session_id: str | None,
    asked: tuple[float | None, float | None],
    connection: tuple[float | None, float | None],
    found: tuple[float | None, float | None],
) -> None:
    request = replace(REQUEST, session_id=session_id, first_line_timeout=asked[0], idle_timeout=asked[1])
    offer = offering("m").model_copy(update={"first_line_timeout": connection[0], "idle_timeout": connection[1]})
    assignment = choose(request, [candidate("desk", connections=[offer])], frozenset())
    assert isinstance(assignment, Assignment)
    assert (assignment.first_line_timeout, assignment.idle_timeout) == found


@pytest.mark.rule("R2")
def test_an_announcement_names_the_executor_its_socket_and_how_often_it_announced_itself() -> None:
    desk = candidate("desk")
    others = [replace(desk, session_id="s-new"), replace(desk, announced=1), replace(desk, key="2/desk"), away("desk")]
    assert len({one.announcement for one in [desk, *others]}) == 5
    assert replace(desk, running=3, last_active_at=9).announcement == desk.announcement
