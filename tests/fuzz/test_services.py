"""Seeded campaigns against all services: nothing is lost, nothing is asked twice, everybody sees the same."""

import pytest

from keyside.core.run import State
from keyside.core.transcript import transcribe
from tests.fuzz.campaign import Campaign

SEEDS = range(14)
KEPT = [1200]
"""Seeds that found something once."""

BEFORE_START = {"callback_timeout", "executor_closing", "executor_busy", "executor_lost", "no_executor"}


@pytest.mark.rule("D2", "E3", "E4", "E5", "R1", "R4", "R5", "R8", "V2", "V3")
@pytest.mark.parametrize("seed", sorted({*SEEDS, *KEPT}))
async def test_what_the_upstream_said_is_what_is_stored_and_seen_whatever_breaks(seed: int) -> None:
    campaign = Campaign(seed)
    await campaign.run()
    log = campaign.server.store.chat_log
    for started in campaign.runs:
        run = await log.run(campaign.server.user_id, started.run.id)
        message = await log.message(campaign.server.user_id, started.assistant_message.id)
        assert run is not None
        assert message is not None
        text = "".join(campaign.texts[run.id])
        assert message.content == transcribe(await log.lines(run)).content
        assert campaign.asked[run.id] <= 1
        if run.state is State.DONE:
            assert message.content == text
            assert (message.status, campaign.asked[run.id]) == ("sent", 1)
        elif run.id in campaign.stopped:
            assert text.startswith(message.content)
            assert message.status in ("aborted", "interrupted")
        else:
            assert run.state is State.FAILED, run
            assert run.failure is not None
            assert run.failure.code in BEFORE_START
            assert (run.started_at, message.content, campaign.asked[run.id]) == (None, "", 0)
    await everybody_sees_what_is_stored(campaign)


async def everybody_sees_what_is_stored(campaign: Campaign) -> None:
    log = campaign.server.store.chat_log
    for viewer in campaign.viewers:
        entries = await log.read(viewer.chat_id, after=0)
        assert entries is not None
        assert [entry.seq for entry in entries] == list(range(1, len(entries) + 1))
        await viewer.open(campaign.server)
        assert viewer.seq == len(entries)
        assert viewer.numbers == list(range(viewer.seq - len(viewer.numbers) + 1, viewer.seq + 1))
        view = await log.view(viewer.chat_id, limit=200)
        assert view is not None
        for message in view.messages:
            assert viewer.texts[message.id] == message.content
