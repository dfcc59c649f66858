"""Waits until nothing changes any more, then compares what was stored and shown with what the upstream sent."""

import asyncio
import time
from typing import Any

from tests.chaos.kit import log
from tests.chaos.kit.fold import Seen
from tests.chaos.kit.profile import Shown, letters
from tests.chaos.kit.text import Said, script
from tests.chaos.kit.viewer import Viewer
from tests.chaos.world import Asked, World

REST_SECONDS = 40
"""The most seconds until all runs have ended, on a busy machine."""
_LOOK = 0.15
STATUS = {"done": "sent", "failed": "error", "aborted": "aborted", "interrupted": "interrupted"}
NOT_STARTED = {"callback_timeout", "no_executor", "executor_lost", "executor_closing", "executor_busy"}
"""The errors with which a run can fail before an executor has claimed it."""
PLAIN_FAILURES = {*NOT_STARTED, "session_gone", "executor_silent", "upstream_truncated"}


async def settle(world: World) -> None:
    """Until every run has ended that can end; what waits for an executor that is dead is stopped.

    What is interrupted may go on as long as its executor is not back (R4), so all that live must be. One is back a
    little before its runs are, so all is looked at twice.
    """
    until = time.monotonic() + REST_SECONDS
    looks = 0
    while looks < 2:
        away = world.living - await world.api.online()
        unsettled = [asked for asked in world.asked if not await _is_settled(world, asked)]
        looks = 0 if away or unsettled else looks + 1
        if time.monotonic() > until:
            world.wrong += [f"{name} lives, and did not come back" for name in sorted(away)]
            return  # the check says what is wrong with the runs
        for asked in unsettled:
            if asked.wants and asked.wants not in world.living and not asked.stopped:
                asked.stopped = True
                await world.api.ask("POST", f"/api/runs/{asked.id}/stop")
        await asyncio.sleep(_LOOK)


async def _is_settled(world: World, asked: Asked) -> bool:
    run = await world.api.run(asked.id)
    if run is None or run["state"] in ("done", "failed", "aborted"):
        return True
    return bool(run["state"] == "interrupted") and _may_be_interrupted(world, asked, run)


def _may_be_interrupted(world: World, asked: Asked, run: dict[str, Any]) -> bool:
    """Whether a run may end as interrupted.

    Its executor is dead or plain, or somebody has stopped it or asked for another answer.
    """
    chat = next(chat for chat in world.chats if chat.id == asked.chat_id)
    if asked.plain or asked.stopped or chat.regenerated:
        return True
    callers = world.upstream.calls.get(asked.key, [])
    if callers:
        return callers[0] in world.dead
    id = run["executor"]["id"] if run["executor"] else ""
    return any(who.removeprefix("browser-").rpartition("-")[0] == id for who in world.dead)


async def check(world: World) -> None:
    """Everything that has to hold after a schedule."""
    wrong = world.wrong
    for key, callers in world.upstream.calls.items():
        if len(callers) > 1:
            wrong.append(f"the upstream was asked {len(callers)} times for {key}: {callers}")
    for asked in world.asked:
        await _check_run(world, asked)
    await _check_viewers(world)
    await _check_page(world)
    for viewer in world.viewers:
        wrong += [f"{viewer.name}: {what}" for what in viewer.wrong]
    wrong += world.messy.wrong if world.messy else []
    await world.server.end()
    wrong += world.api.strange
    wrong += [f"the server {ending}" for ending in world.server.endings]
    wrong += [f"in the server's log: {line}" for line in world.server.log if "Traceback" in line or " ERROR " in line]
    wrong += await asyncio.to_thread(log.gaps, world.server.data_dir)
    wrong += await world.doctor()
    world.figures["upstream calls"] += len(world.upstream.calls)
    if world.profile is not None:
        world.figures["by Chromium"] += sum(world.profile.who in callers for callers in world.upstream.calls.values())
    if world.messy is not None:
        world.figures["messy frames"] += world.messy.frames
        world.figures["late claims"] += world.messy.late
        world.figures["thefts"] += world.messy.thefts


# --- runs ------------------------------------------------------------------------------------------


async def _check_run(world: World, asked: Asked) -> None:
    chat = next(chat for chat in world.chats if chat.id == asked.chat_id)
    run = await world.api.run(asked.id)
    messages = await world.api.messages(chat.id)
    message = next((m for m in messages or () if m["id"] == asked.message_id), None)
    world.figures["runs"] += 1
    if run is None or message is None:
        world.figures["deleted"] += 1
        if not (chat.deleted or chat.truncated):
            world.wrong.append(f"{asked.id} is gone, and nobody deleted it")
        return
    if chat.deleted or asked.message_id in chat.truncated:
        world.wrong.append(f"{asked.id} is there, and it was deleted")
    world.figures[run["state"]] += 1
    said = Seen.of(message).said
    problem = _problem(world, asked, run, said)
    if STATUS.get(run["state"]) != message["status"]:
        problem = problem or f"its message is {message['status']}"
    if problem:
        callers = world.upstream.calls.get(asked.key, [])
        told = f"stored {said} of {script(asked.key).said}, upstream asked by {callers}, error {run['error']}"
        world.wrong.append(f"{asked.id} is {run['state']}: {problem} ({told})")


def _problem(world: World, asked: Asked, run: dict[str, Any], said: Said) -> str | None:
    """What is wrong with a run's state or text."""
    told = script(asked.key)
    callers = world.upstream.calls.get(asked.key, [])
    if not said.begins(told.said):
        return "its text is not what the upstream said"
    if not callers and said != Said():
        return "it has text that nobody asked for"
    match run["state"]:
        case "done":
            # A plain executor says `done` as it likes.
            if not asked.plain and (not told.complete or run["finish_reason"] != told.reason):
                return f"it did not end with {told.reason}"
            return None if said == told.said else "its text is not whole"
        case "failed":
            return _failure_problem(asked, run["error"]["code"], bool(callers), said)
        case "aborted":
            ended = asked.stopped or any(caller in world.dead for caller in callers)
            return None if ended or (not callers and world.dead) else "nobody stopped it"
        case "interrupted":
            return None if _may_be_interrupted(world, asked, run) else "its executor lives"
    return "it has not ended"


def _failure_problem(asked: Asked, code: str, called: bool, said: Said) -> str | None:
    told = script(asked.key)
    if asked.plain:
        return None if code in PLAIN_FAILURES else "for no good reason"
    if called and code == "upstream_truncated" and not told.complete:
        return None if said == told.said else "its text is not whole"
    return None if not called and code in NOT_STARTED else "for no good reason"


# --- viewers ---------------------------------------------------------------------------------------


async def _check_viewers(world: World) -> None:
    """Each viewer's folded text is the stored text, and so is that of one that sees it for the first time."""
    stranger = Viewer("a stranger", await world.proxy())
    stranger.start()
    for chat in world.chats:
        stranger.follow(chat.id)
    viewers = [*world.viewers, stranger]
    until = time.monotonic() + REST_SECONDS
    while time.monotonic() < until:
        if all(_agree(viewer, stranger) for viewer in viewers):
            break
        await asyncio.sleep(_LOOK)
    for chat in world.chats:
        messages = await world.api.messages(chat.id)
        for viewer in viewers:
            world.wrong += [
                f"{viewer.name}, chat {chat.id}: {what}" for what in _differences(viewer, chat.id, messages)
            ]
    await stranger.stop()
    world.wrong += stranger.wrong


async def _check_page(world: World) -> None:
    """The page in Chromium shows the answers of its chat as they are stored."""
    page = world.profile
    if page is None:
        return
    world.wrong += [f"the page: {what}" for what in page.broken]
    chat = await world.api.chat(page.chat_id)
    if chat is None or not page.alive:
        return
    messages = {message["id"]: message for message in await world.api.messages(page.chat_id) or ()}
    stored: list[Shown] = []
    at = chat["head_id"]
    while at is not None:
        message = messages[at]
        if message["role"] == "assistant":
            stored.insert(0, (at, message["status"], letters(message["content"])))
        at = message["parent_id"]
    until = time.monotonic() + REST_SECONDS
    shown = await page.shown()
    while shown != stored and time.monotonic() < until:
        await asyncio.sleep(_LOOK)
        shown = await page.shown()
    if shown != stored:
        world.wrong.append(f"the page shows {shown}, stored is {stored}")


def _agree(viewer: Viewer, stranger: Viewer) -> bool:
    """Whether the viewer shows the same as one that has just opened the chat."""
    for chat_id, fold in stranger.chats.items():
        known = viewer.chats[chat_id]
        if fold.gone != known.gone or known.opening or (not fold.gone and (fold.seq is None or fold.seq != known.seq)):
            return False
    return True


def _differences(viewer: Viewer, chat_id: int, messages: list[dict[str, Any]] | None) -> list[str]:
    fold = viewer.chats[chat_id]
    if messages is None:
        return [] if fold.gone else ["it still shows what was deleted"]
    if fold.gone:
        return ["it believes that the chat is gone"]
    stored = {message["id"]: Seen.of(message) for message in messages}
    found = [f"it shows {id}, which is gone" for id in fold.messages if id not in stored]
    for id, seen in fold.messages.items():
        if id in stored and (seen.said, seen.status) != (stored[id].said, stored[id].status):
            found.append(f"of {id} it shows {seen.said} {seen.status}, stored is {stored[id].said} {stored[id].status}")
    parents = {message["id"]: message["parent_id"] for message in messages}
    at = fold.head_id
    while at is not None:
        if at not in fold.messages:
            found.append(f"it does not show {at}")
        at = parents.get(at)
    return found
