"""A run's life: every transition there is, and everything that is refused."""

from dataclasses import replace
from typing import Any, get_args

import pytest

from keyside.core.inputs import (
    Cancel,
    Close,
    Expire,
    Fail,
    Finish,
    Input,
    Lines,
    Lose,
    Offer,
    Return,
    Start,
    Stop,
)
from keyside.core.limits import Limits, expiry
from keyside.core.run import BOUND, ENDED, TRANSITIONS, State, step
from keyside.protocol.errors import failure
from keyside.testing import DONE
from tests.core.runs import ASSIGNMENT, LATER, NOW, piece, queued, refusal, run_in, stored, suitable, through

S = State
INPUTS: tuple[type[Input], ...] = get_args(Input)

R1: dict[State, dict[type[Any], State]] = {
    S.QUEUED: {Offer: S.OFFERED, Fail: S.FAILED, Expire: S.FAILED, Stop: S.ABORTED},
    S.OFFERED: {Start: S.STREAMING, Lose: S.QUEUED, Expire: S.QUEUED, Fail: S.FAILED, Stop: S.ABORTED},
    S.STREAMING: {
        Start: S.STREAMING,
        Lines: S.STREAMING,
        Return: S.STREAMING,
        Finish: S.DONE,
        Fail: S.FAILED,
        Expire: S.FAILED,
        Lose: S.SUSPENDED,
        Stop: S.ABORTED,
    },
    S.SUSPENDED: {
        Return: S.STREAMING,
        Finish: S.DONE,
        Fail: S.FAILED,
        Expire: S.INTERRUPTED,
        Stop: S.ABORTED,
    },
    S.INTERRUPTED: {Return: S.STREAMING, Expire: S.INTERRUPTED, Stop: S.INTERRUPTED},
    S.DONE: {},
    S.FAILED: {},
    S.ABORTED: {},
}
"""The rule, written a second time: a change of the table is a change of the protocol."""

LEGAL = [(state, kind, target) for state, row in R1.items() for kind, target in row.items()]
KNOWN_ALREADY = {(S.STREAMING, Start), (S.SUSPENDED, Start)}
ILLEGAL = [
    (state, kind) for state in S for kind in INPUTS if kind not in R1[state] and (state, kind) not in KNOWN_ALREADY
]


# --- the table -------------------------------------------------------------------------------------


@pytest.mark.rule("R1")
def test_the_table_of_transitions_is_the_protocols() -> None:
    assert {state: dict(row) for state, row in TRANSITIONS.items()} == R1


@pytest.mark.rule("R1")
@pytest.mark.parametrize(("state", "kind", "target"), LEGAL)
def test_each_legal_input_leads_where_the_table_says(state: State, kind: type[Input], target: State) -> None:
    before = run_in(state)
    after, effects = step(before, suitable(kind, before), LATER)
    assert after.state is target
    if target is not state:
        assert (after.since, after.heard_at) == (LATER, LATER)
    assert (Close() in effects) == (target in ENDED and state is not S.INTERRUPTED)
    assert (after.ended_at is not None) == (target in ENDED)


@pytest.mark.rule("R1")
@pytest.mark.parametrize(("state", "kind", "target"), LEGAL)
def test_each_change_of_state_raises_the_version_by_one(state: State, kind: type[Input], target: State) -> None:
    before = run_in(state)
    after, _ = step(before, suitable(kind, before), LATER)
    stays = state is target is S.STREAMING
    assert after.version == before.version + (0 if stays else 1)


@pytest.mark.rule("R1")
@pytest.mark.parametrize(("state", "kind"), ILLEGAL)
def test_each_illegal_input_is_refused_and_changes_nothing(state: State, kind: type[Input]) -> None:
    before = run_in(state)
    copy = replace(before)
    refused = refusal(before, suitable(kind, before))
    assert before == copy
    assert refused.expected == before.expected
    assert (refused.code == "run_ended") == (state in ENDED)


@pytest.mark.rule("R1")
def test_what_has_started_is_never_offered_again() -> None:
    """No input leads from a bound run, or an ended one, to where runs are offered."""
    offerable = {S.QUEUED, S.OFFERED}
    assert not any(target in offerable for state in BOUND | ENDED for target in TRANSITIONS[state].values())


# --- offers and claims -----------------------------------------------------------------------------


@pytest.mark.rule("E3", "R2")
def test_each_offer_is_an_attempt_of_its_own_and_is_remembered_as_tried() -> None:
    first = through(queued(), Offer(ASSIGNMENT, "c1"))
    assert (first.attempt, first.channel, first.assignment) == (1, "c1", ASSIGNMENT)
    other = replace(ASSIGNMENT, key="1/phone", session_id="s2", visit="1/phone@s2#1")
    second = through(first, Lose(), Offer(other, "c2"))
    assert (second.attempt, second.channel, second.assignment) == (2, "c2", other)
    assert second.tried == {ASSIGNMENT.visit, other.visit}
    assert second.started_at is None


@pytest.mark.rule("E3")
def test_the_claim_starts_the_run_and_no_line_comes_before_it() -> None:
    offered = run_in(S.OFFERED)
    for early in (Lines(piece(0, "data: x")), Finish("stop", piece(0)), Lines(piece(0, DONE))):
        assert refusal(offered, early).code == "not_started"
    claimed, effects = step(offered, Start(1), LATER)
    assert (claimed.state, claimed.started_at, effects) == (S.STREAMING, LATER, ())


@pytest.mark.rule("E3", "E5")
@pytest.mark.parametrize("state", sorted(BOUND))
def test_a_claim_that_is_sent_again_is_acknowledged_again(state: State) -> None:
    run = run_in(state, expected=3)
    assert step(run, Start(1), LATER) == (run, ())


@pytest.mark.rule("E3", "E4")
def test_of_two_claims_that_of_the_older_offer_is_refused() -> None:
    again = through(run_in(S.OFFERED), Lose(), Offer(replace(ASSIGNMENT, key="1/phone"), "c2"))
    assert refusal(again, Start(1)).code == "stale_attempt"
    assert through(again, Start(2)).state is S.STREAMING


@pytest.mark.rule("E1", "E3")
def test_a_claim_of_an_offer_that_was_taken_back_is_refused() -> None:
    assert refusal(through(run_in(S.OFFERED), Lose()), Start(1)).code == "stale_attempt"


@pytest.mark.rule("E3")
@pytest.mark.parametrize("input", [Lose(), Expire("callback_timeout")])
def test_an_offer_that_is_not_taken_is_recalled(input: Input) -> None:
    after, effects = step(run_in(S.OFFERED), input, LATER)
    assert effects == (Cancel("r", ASSIGNMENT, 1, "c1"),)
    assert (after.ended_at, after.failure, after.closed_by) == (None, None, None)


# --- the fence -------------------------------------------------------------------------------------


@pytest.mark.rule("E4")
@pytest.mark.parametrize("attempt", [1, 3])
@pytest.mark.parametrize("state", sorted(S))
def test_what_another_attempt_says_is_stale_in_every_state(state: State, attempt: int) -> None:
    run = run_in(state, attempt=2)
    late = piece(0, "data: x", DONE, attempt=attempt)
    inputs: list[Input] = [Start(attempt), Return(attempt), Lines(late), Finish("stop", late)]
    inputs += [Fail(failure("upstream_error"), late), Stop(piece=late)]
    assert {refusal(run, input).code for input in inputs} == {"stale_attempt"}


@pytest.mark.rule("E4", "R5")
@pytest.mark.parametrize("ending", [Stop(), Expire("run_timeout"), Fail(failure("deleted"))])
def test_frames_of_a_run_that_others_ended_are_refused(ending: Input) -> None:
    ended = through(run_in(S.STREAMING, expected=2), ending)
    for frame in (Lines(piece(2, "data: x")), Lines(piece(0, "data: x")), Finish("stop", piece(2))):
        assert refusal(ended, frame).code == "run_ended"


# --- frames ----------------------------------------------------------------------------------------


@pytest.mark.rule("E5")
def test_a_gap_is_refused_with_the_index_expected() -> None:
    run = run_in(S.STREAMING, expected=3)
    refused = refusal(run, Lines(piece(4, "data: x")))
    assert (refused.code, refused.expected) == ("gap", 3)
    assert refusal(run, Finish("stop", piece(4))).code == "gap"
    assert refusal(run, Lines(piece(5, DONE))).code == "gap"


@pytest.mark.rule("E5")
def test_the_next_frame_is_taken_whole() -> None:
    after, effects = step(run_in(S.STREAMING, expected=3), Lines(piece(3, "a", "b")), LATER)
    assert (after.expected, after.heard_at) == (5, LATER)
    assert stored(effects) == [(3, ("a", "b"))]


@pytest.mark.rule("E5")
def test_of_an_overlapping_frame_the_new_part_is_taken() -> None:
    after, effects = step(run_in(S.STREAMING, expected=3), Lines(piece(1, "b", "c", "d", "e")), LATER)
    assert after.expected == 5
    assert stored(effects) == [(3, ("d", "e"))]


@pytest.mark.rule("E5")
@pytest.mark.parametrize("known", [piece(0, "a", "b", "c"), piece(1, "b"), piece(0), piece(2, "c")])
def test_lines_that_are_known_already_are_passed_over(known: Any) -> None:
    run = run_in(S.STREAMING, expected=3, version=4)
    after, effects = step(run, Lines(known), LATER)
    assert effects == ()
    assert after == replace(run, heard_at=LATER)


@pytest.mark.rule("E8")
def test_a_heartbeat_counts_as_heard_and_changes_nothing_that_is_stored() -> None:
    run = run_in(S.STREAMING, expected=3)
    after, effects = step(run, Lines(piece(3)), LATER)
    assert effects == ()
    assert after == replace(run, heard_at=LATER)


@pytest.mark.rule("E1")
def test_frames_of_an_executor_that_has_not_announced_itself_again_wait() -> None:
    refused = refusal(run_in(S.SUSPENDED, expected=1), Lines(piece(1, "data: x")))
    assert (refused.code, refused.expected) == ("not_ready", 1)


# --- away and back ---------------------------------------------------------------------------------


@pytest.mark.rule("R4")
def test_a_run_whose_executor_goes_is_suspended_then_interrupted_then_still_open() -> None:
    suspended, effects = step(run_in(S.STREAMING, expected=2), Lose(), LATER)
    assert (suspended.state, effects) == (S.SUSPENDED, ())
    interrupted, effects = step(suspended, Expire("executor_lost"), LATER + 60)
    assert (interrupted.state, interrupted.ended_at) == (S.INTERRUPTED, LATER + 60)
    assert (interrupted.failure, interrupted.closed_by) == (failure("executor_lost"), None)
    assert effects == (Close(),)


@pytest.mark.rule("R4")
@pytest.mark.parametrize("state", [S.SUSPENDED, S.INTERRUPTED])
def test_the_same_attempt_comes_back_and_goes_on_where_it_was(state: State) -> None:
    away = run_in(state, expected=2)
    back, effects = step(away, Return(1), LATER)
    assert (back.state, back.expected, back.attempt) == (S.STREAMING, 2, 1)
    assert (back.ended_at, back.failure, back.closed_by, effects) == (None, None, None, ())
    assert stored(step(back, Lines(piece(1, "b", "c")), LATER)[1]) == [(2, ("c",))]


@pytest.mark.rule("R4")
@pytest.mark.parametrize(("ending", "by"), [(Stop(), "user"), (Expire("executor_lost"), "server")])
def test_an_interrupted_run_is_final_once_the_user_or_the_time_closes_it(ending: Input, by: str) -> None:
    interrupted = run_in(S.INTERRUPTED, expected=2, failure=failure("executor_lost"))
    final, effects = step(interrupted, ending, LATER)
    assert (final.state, final.closed_by, final.ended_at) == (S.INTERRUPTED, by, NOW)
    assert (final.failure, effects) == (failure("executor_lost"), ())
    assert final.version == interrupted.version + 1


@pytest.mark.rule("R4")
@pytest.mark.parametrize("ending", [Stop(), Expire("executor_lost")])
def test_an_interrupted_run_that_is_final_does_not_come_back(ending: Input) -> None:
    final = through(run_in(S.INTERRUPTED, expected=2), ending)
    for late in (Return(1), Lines(piece(2, "x")), Finish("stop", piece(2))):
        assert refusal(final, late).code == "run_ended"
    assert expiry(final, Limits()) is None


@pytest.mark.rule("E4", "R4")
def test_an_interrupted_run_takes_no_line_before_its_executor_is_back() -> None:
    interrupted = run_in(S.INTERRUPTED, expected=2)
    frames: list[Input] = [Lines(piece(2, "x")), Lines(piece(2, DONE)), Stop(piece=piece(2, "x"))]
    assert {refusal(interrupted, frame).code for frame in frames} == {"run_ended"}
