"""What a run makes of its message: while it is written, and when it ends."""

from keyside.core.reading import Delta
from keyside.core.run import Run, State
from keyside.core.transcript import merge
from keyside.protocol.base import iso
from keyside.protocol.entities import Message, Status

_STATUS: dict[State, Status] = {
    State.DONE: "sent",
    State.FAILED: "error",
    State.ABORTED: "aborted",
    State.INTERRUPTED: "interrupted",
}


def written(message: Message, run: Run, draft: Delta) -> Message:
    """The message with the run's lines in it: its text is the run's prefix and what the lines add.

    All of the text is there, also where the message was read in part.
    """
    whole = merge((_as_delta(run.prefix), draft)) if run.prefix else draft
    return message.model_copy(
        update={
            "content": whole.content,
            "reasoning": whole.reasoning,
            "tool_calls": list(whole.tool_calls),
            "images": list(whole.images),
            "citations": list(whole.citations),
            "partial": False,
        }
    )


def closed(message: Message, run: Run, draft: Delta, now: float) -> Message:
    """The message of a run that has ended, with all its text, and why it ended."""
    return written(message, run, draft).model_copy(
        update={
            "status": _STATUS[run.state],
            "error": run.failure,
            "provider": (run.assignment.provider if run.assignment else None) or message.provider,
            "prompt_tokens": draft.usage.prompt_tokens if draft.usage else None,
            "completion_tokens": draft.usage.completion_tokens if draft.usage else None,
            "updated_at": iso(now),
        }
    )


def _as_delta(message: Message) -> Delta:
    return Delta(
        message.content,
        message.reasoning,
        tuple(message.tool_calls),
        tuple(message.images),
        tuple(message.citations),
    )
