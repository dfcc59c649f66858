"""A run's life: offers and claims, frames, the executor that goes and comes back, the process that is gone."""

from dataclasses import replace
from typing import Any

import pytest

from keyside.core.frames import FrameLines
from keyside.core.inputs import (
    Abandon,
    Answered,
    Cancel,
    Close,
    CloseMessage,
    Decline,
    Disconnect,
    Expire,
    Fail,
    Finish,
    Input,
    Offer,
    Recover,
    ReopenMessage,
    Resume,
    Retry,
    Start,
    Stop,
)
from keyside.core.run import BOUND, State, channel_of
from keyside.protocol.errors import failure
from tests.core.lines import DONE
from tests.core.runs import (
    ASSIGNMENT,
    BUSY,
    LATER,
    LIMITS,
    NEVER,
    NOW,
    OTHER,
    PLAIN,
    STOPPED_BY_UPSTREAM,
    apply,
    frame,
    overdue,
    passes,
    queued,
    refusal,
    run_in,
    stored,
    through,
    when_due,
)
from tests.core.test_run import STATES, before_its_end

S = State


# --- offers and claims -----------------------------------------------------------------------------


@pytest.mark.rule("E3", "R2")
def test_each_offer_is_an_attempt_of_its_own_and_is_remembered_as_tried() -> None:
    first = through(queued(), Offer(ASSIGNMENT, "c1"))
    assert (first.attempt, first.channel_name, first.assignment) == (1, "c1.1", ASSIGNMENT)
    second = through(first, Decline(1, BUSY), Offer(OTHER, "c2"))
    assert (second.attempt, second.channel_name, second.assignment) == (2, "c1.2", OTHER)
    assert second.tried == {ASSIGNMENT.announcement, OTHER.announcement}
    assert second.started_at is None


@pytest.mark.rule("E5")
def test_the_channels_of_all_attempts_lead_to_the_run() -> None:
    first = through(queued(), Offer(ASSIGNMENT, "c1"))
    second = through(first, Decline(1, BUSY), Offer(OTHER, "c2"))
    assert channel_of(first.channel_name) == channel_of(second.channel_name) == second.channel == "c1"


@pytest.mark.rule("E3")
def test_the_claim_starts_the_run_and_no_line_comes_before_it() -> None:
    offered = run_in(S.OFFERED)
    for early in (frame(0, "data: x"), Finish("stop", frame(0)), frame(0, DONE)):
        assert refusal(offered, early).code == "not_started"
    claimed, effects = apply(offered, Start(1))
    assert (claimed.state, claimed.started_at, effects) == (S.STREAMING, LATER, ())


@pytest.mark.rule("E3", "E5")
@pytest.mark.parametrize("state", sorted(BOUND))
def test_a_claim_that_is_sent_again_is_acknowledged_again(state: State) -> None:
    assert passes(run_in(state, expected=3), Start(1))


@pytest.mark.rule("E3", "E4")
def test_of_two_claims_that_of_the_older_offer_is_refused() -> None:
    again = through(run_in(S.OFFERED), Decline(1, BUSY), Offer(OTHER, "c2"))
    assert refusal(again, Start(1)).code == "stale_attempt"
    assert through(again, Start(2)).state is S.STREAMING


@pytest.mark.rule("E1", "E3")
def test_a_claim_of_an_offer_that_was_taken_back_is_refused() -> None:
    for lost in (Decline(1, BUSY), Disconnect(1), Abandon(1)):
        assert refusal(through(run_in(S.OFFERED), lost), Start(1)).code == "stale_attempt"


@pytest.mark.rule("E4", "E9", "R3")
def test_the_last_words_of_an_executor_whose_offer_was_taken_back_do_not_end_the_run_that_waits() -> None:
    """It was told to stop, and says `aborted`, as it should; the run is for another now."""
    waiting, effects = when_due(run_in(S.OFFERED))
    assert isinstance(effects[0], Cancel)
    for last in (Stop(frame=frame(0)), Fail(failure("upstream_error"), frame(0, "data: x")), Finish("stop", frame(0))):
        assert refusal(waiting, last).code == "stale_attempt"


@pytest.mark.rule("E3")
@pytest.mark.parametrize("input", [Decline(1, BUSY), Disconnect(1), Abandon(1), Expire()])
def test_an_offer_that_is_not_taken_is_recalled(input: Input) -> None:
    after, effects = apply(before_its_end(S.OFFERED), input)
    assert effects == (Cancel("r", ASSIGNMENT, 1, "c1.1"),)
    assert (after.ended_at, after.failure, after.closed_by) == (None, None, None)


@pytest.mark.rule("R2")
@pytest.mark.parametrize(
    ("input", "why"),
    [
        (Decline(1, BUSY), BUSY),
        (Disconnect(1), failure("executor_lost")),
        (Abandon(1), failure("executor_lost")),
        (Expire(), failure("callback_timeout")),
    ],
)
def test_why_an_offer_was_not_taken_is_kept_until_the_next_one(input: Input, why: Any) -> None:
    waiting = through(before_its_end(S.OFFERED), input)
    assert waiting.refusal == why
    assert through(waiting, Retry()).refusal == why
    assert through(waiting, Offer(OTHER, "c2")).refusal is None


@pytest.mark.rule("R2")
def test_a_refusal_that_is_not_retryable_fails_the_run_with_its_reason() -> None:
    after, effects = apply(run_in(S.OFFERED), Decline(1, NEVER))
    assert (after.state, after.failure, after.closed_by) == (S.FAILED, NEVER, "server")
    assert effects == (CloseMessage(), Cancel("r", ASSIGNMENT, 1, "c1.1"))


@pytest.mark.rule("E3")
def test_a_callback_gives_the_executor_as_long_again_for_its_claim() -> None:
    offered = run_in(S.OFFERED)
    answered, effects = apply(offered, Answered(1))
    assert answered == replace(offered, heard_at=LATER, deadline=answered.deadline)
    assert answered.deadline is not None
    assert (answered.deadline.at, answered.deadline.code) == (LATER + LIMITS.callback, "callback_timeout")
    assert effects == ()


@pytest.mark.rule("E4")
@pytest.mark.parametrize("late", [Answered(1), Decline(1, BUSY), Decline(1, NEVER), Disconnect(1), Abandon(1)])
def test_what_is_said_of_an_older_offer_does_not_touch_the_present_one(late: Input) -> None:
    again = through(run_in(S.OFFERED), Decline(1, BUSY), Offer(OTHER, "c2"))
    assert passes(again, late)
    assert passes(through(again, Start(2)), late)


@pytest.mark.rule("R3")
def test_executors_that_did_not_take_a_run_may_be_asked_again() -> None:
    waiting = through(run_in(S.OFFERED), Decline(1, BUSY))
    assert waiting.tried == {ASSIGNMENT.announcement}
    again, effects = apply(waiting, Retry(), LATER + 1)
    assert (again.tried, again.attempt, again.since, effects) == (frozenset(), 1, LATER, ())
    assert again.version == waiting.version + 1
    assert passes(again, Retry()), "nobody is left out any more"
    assert passes(queued(), Retry())


# --- the fence -------------------------------------------------------------------------------------


@pytest.mark.rule("E4")
def test_an_offer_that_was_chosen_before_another_attempt_began_is_stale() -> None:
    declined = through(queued(), Offer(ASSIGNMENT, "c1", 1), Decline(1, BUSY))
    assert refusal(declined, Offer(ASSIGNMENT, "c2", 1)).code == "stale_attempt"
    assert through(declined, Offer(OTHER, "c2", 2)).attempt == 2


@pytest.mark.rule("E4")
@pytest.mark.parametrize("attempt", [1, 3])
@pytest.mark.parametrize("state", sorted(S))
def test_what_another_attempt_says_is_stale_in_every_state(state: State, attempt: int) -> None:
    run = run_in(state, attempt=2)
    late = frame(0, "data: x", DONE, attempt=attempt)
    inputs: list[Input] = [Start(attempt), Resume(attempt), late, Finish("stop", late)]
    inputs += [Fail(failure("upstream_error"), late), Stop(frame=late)]
    assert {refusal(run, input).code for input in inputs} == {"stale_attempt"}


@pytest.mark.rule("E4", "R5")
@pytest.mark.parametrize("ending", [Stop(), Expire(), Fail(failure("deleted"))])
def test_frames_of_a_run_that_others_ended_are_refused(ending: Input) -> None:
    ended = through(overdue(run_in(S.STREAMING, expected=2), "run_timeout"), ending)
    for late in (frame(2, "data: x"), frame(0, "data: x"), Finish("stop", frame(2))):
        assert refusal(ended, late).code == "run_ended"


# --- frames ----------------------------------------------------------------------------------------


@pytest.mark.rule("E5")
def test_a_gap_is_refused_with_the_index_expected() -> None:
    run = run_in(S.STREAMING, expected=3)
    refused = refusal(run, frame(4, "data: x"))
    assert (refused.code, refused.expected) == ("gap", 3)
    for input in (Finish("stop", frame(4)), Fail(BUSY, frame(4)), Stop(frame=frame(4)), frame(5, DONE), frame(4)):
        assert refusal(run, input).code == "gap"


@pytest.mark.rule("E5")
def test_the_next_frame_is_taken_whole() -> None:
    after, effects = apply(run_in(S.STREAMING, expected=3), frame(3, "a", "b"))
    assert (after.expected, after.heard_at) == (5, LATER)
    assert stored(effects) == [(3, ("a", "b"))]


@pytest.mark.rule("E5")
def test_of_an_overlapping_frame_the_new_part_is_taken() -> None:
    after, effects = apply(run_in(S.STREAMING, expected=3), frame(1, "b", "c", "d", "e"))
    assert after.expected == 5
    assert stored(effects) == [(3, ("d", "e"))]


@pytest.mark.rule("E5")
@pytest.mark.parametrize("known", [frame(0, "a", "b", "c"), frame(1, "b"), frame(0), frame(2, "c")])
def test_lines_that_are_known_already_are_passed_over(known: FrameLines) -> None:
    run = run_in(S.STREAMING, expected=3, version=4)
    after, effects = apply(run, known)
    assert effects == ()
    assert after == replace(run, heard_at=LATER, deadline=after.deadline)


@pytest.mark.rule("E8")
def test_a_heartbeat_counts_as_heard_and_changes_nothing_that_is_stored() -> None:
    run = run_in(S.STREAMING, expected=3)
    after, effects = apply(run, frame(3))
    assert effects == ()
    assert after == replace(run, heard_at=LATER, deadline=after.deadline)
    assert after.deadline is not None
    assert (after.deadline.at, after.deadline.code) == (LATER + LIMITS.idle, "executor_silent")


@pytest.mark.rule("E1")
def test_frames_of_an_executor_that_has_not_announced_itself_again_wait() -> None:
    refused = refusal(run_in(S.SUSPENDED, expected=1), frame(1, "data: x"))
    assert (refused.code, refused.expected) == ("not_ready", 1)


# --- away and back ---------------------------------------------------------------------------------


@pytest.mark.rule("R4")
def test_a_run_whose_executor_goes_is_suspended_then_interrupted_then_still_open() -> None:
    suspended, effects = apply(run_in(S.STREAMING, expected=2), Disconnect(1))
    assert (suspended.state, effects) == (S.SUSPENDED, ())
    interrupted, effects = apply(suspended, Expire(), LATER + 60)
    assert (interrupted.state, interrupted.ended_at) == (S.INTERRUPTED, LATER + 60)
    assert (interrupted.failure, interrupted.closed_by) == (failure("executor_lost"), None)
    assert effects == (CloseMessage(),)
    assert interrupted.can_return
    assert not interrupted.final


@pytest.mark.rule("E1", "R4")
@pytest.mark.parametrize("state", sorted(BOUND))
def test_a_run_that_its_executor_has_forgotten_is_interrupted_there_and_then(state: State) -> None:
    after, effects = apply(run_in(state, expected=2), Abandon(1))
    assert (after.state, after.ended_at, after.failure) == (S.INTERRUPTED, LATER, failure("executor_lost"))
    assert (after.closed_by, effects) == (None, (CloseMessage(),))


@pytest.mark.rule("R4")
@pytest.mark.parametrize("state", [S.SUSPENDED, S.INTERRUPTED])
def test_the_same_attempt_comes_back_and_goes_on_where_it_was(state: State) -> None:
    away = run_in(state, expected=2)
    back, effects = apply(away, Resume(1))
    assert (back.state, back.expected, back.attempt) == (S.STREAMING, 2, 1)
    assert (back.ended_at, back.failure, back.closed_by) == (None, None, None)
    assert effects == ((ReopenMessage(),) if state is S.INTERRUPTED else ())
    assert stored(apply(back, frame(1, "b", "c"))[1]) == [(2, ("c",))]


@pytest.mark.rule("R4")
@pytest.mark.parametrize(("ending", "by"), [(Stop(), "user"), (Close(), "user"), (Expire(), "server")])
def test_an_interrupted_run_is_final_once_the_user_or_the_time_closes_it(ending: Input, by: str) -> None:
    interrupted = overdue(run_in(S.INTERRUPTED, expected=2, failure=failure("executor_lost")), "executor_lost")
    final, effects = apply(interrupted, ending)
    assert (final.state, final.closed_by, final.ended_at) == (S.INTERRUPTED, by, NOW)
    assert (final.failure, effects) == (failure("executor_lost"), ())
    assert final.version == interrupted.version + 1
    assert final.final


@pytest.mark.rule("R4")
@pytest.mark.parametrize("ending", [Stop(), Close(), Expire()])
def test_an_interrupted_run_that_is_final_does_not_come_back(ending: Input) -> None:
    final = through(overdue(run_in(S.INTERRUPTED, expected=2), "executor_lost"), ending)
    for late in (Resume(1), frame(2, "x"), Finish("stop", frame(2))):
        assert refusal(final, late).code == "run_ended"
    assert final.deadline is None


@pytest.mark.rule("E1", "E4")
@pytest.mark.parametrize("state", [S.DONE, S.FAILED, S.ABORTED])
def test_an_executor_that_comes_back_to_a_run_that_has_ended_is_told_so(state: State) -> None:
    assert refusal(run_in(state), Resume(1)).code == "run_ended"


@pytest.mark.rule("E4", "R4")
def test_an_interrupted_run_takes_no_line_before_its_executor_is_back() -> None:
    interrupted = run_in(S.INTERRUPTED, expected=2)
    frames: list[Input] = [frame(2, "x"), frame(2, DONE), Stop(frame=frame(2, "x"))]
    assert {refusal(interrupted, late).code for late in frames} == {"run_ended"}


# --- the process in which it was at home is gone ------------------------------------------------------


@pytest.mark.rule("R8")
def test_an_offer_of_a_dead_process_can_still_be_claimed_for_its_time() -> None:
    run = run_in(S.OFFERED)
    after, effects = apply(run, Recover())
    assert after == replace(run, since=LATER, heard_at=LATER, version=run.version + 1, deadline=after.deadline)
    assert after.deadline is not None
    assert (after.deadline.at, effects) == (LATER + LIMITS.callback, ())


@pytest.mark.rule("R4", "R8")
@pytest.mark.parametrize("state", sorted(BOUND))
def test_a_run_of_a_dead_process_waits_for_its_executor_and_its_grace_begins_anew(state: State) -> None:
    after, effects = apply(run_in(state, expected=2), Recover())
    assert (after.state, after.since, after.expected, effects) == (S.SUSPENDED, LATER, 2, ())
    assert after.deadline is not None
    assert (after.deadline.at, after.deadline.code) == (LATER + LIMITS.resume_grace, "executor_lost")


@pytest.mark.rule("D2", "R8")
def test_what_a_plain_executor_was_streaming_into_a_dead_process_is_interrupted() -> None:
    after, effects = apply(run_in(S.STREAMING, assignment=PLAIN, expected=2), Recover())
    assert (after.state, after.failure, effects) == (S.INTERRUPTED, failure("executor_lost"), (CloseMessage(),))


@pytest.mark.rule("E7", "R8")
def test_what_a_plain_executor_had_streamed_to_its_end_is_done() -> None:
    run = run_in(S.STREAMING, assignment=PLAIN, expected=2, end_mark=STOPPED_BY_UPSTREAM)
    after, effects = apply(run, Recover())
    assert (after.state, after.finish_reason, effects) == (S.DONE, "stop", (CloseMessage(),))


@pytest.mark.rule("R8")
@pytest.mark.parametrize("name", ["queued", "interrupted", "interrupted for good", "done", "failed", "aborted"])
def test_a_run_that_was_at_home_nowhere_has_lost_nothing_with_a_process(name: str) -> None:
    assert passes(STATES[name], Recover())
