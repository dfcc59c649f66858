"""The native face: chats, messages, runs, executors and models under `/api`."""

from typing import Annotated

from fastapi import APIRouter, Depends
from fastapi.responses import StreamingResponse

from keyside.core.changes import view
from keyside.protocol.commands import (
    ChatPage,
    ChatPatch,
    ExecutorPage,
    MessageAt,
    MessagePage,
    MessagePatch,
    ModelPage,
    NewChat,
    NewMessage,
    NewRun,
    Started,
)
from keyside.protocol.entities import Chat, Message, Run
from keyside.services.accounts import Identity
from keyside.services.chats import Chats
from keyside.services.executors import Executors
from keyside.services.followers import Followers
from keyside.services.messages import Messages
from keyside.services.models import models_of
from keyside.services.presence import Presence
from keyside.services.requests import RunRequests
from keyside.services.runs import Runs
from keyside.services.viewers import Viewers
from keyside.web.auth import Authenticator
from keyside.web.http.errors import documented
from keyside.web.http.event_stream import EventStreams
from keyside.web.http.json_body import JsonRoute
from keyside.web.http.parameters import After, BranchOf, ChatId, Cursor, LastEventId, Limit, PathId

_CHAT = documented("unauthorized", "forbidden", "not_found", "bad_request")
_EVENTS = {**_CHAT, 200: {"content": {"text/event-stream": {}}}}
_CHANGE = documented("unauthorized", "forbidden", "not_found", "bad_request", "conflict", "message_running")


def native_router(
    authenticator: Authenticator,
    chats: Chats,
    messages: Messages,
    requests: RunRequests,
    followers: Followers,
    known: Executors,
    viewers: Viewers,
    presence: Presence,
    runs: Runs,
) -> APIRouter:
    """All routes of this face."""
    router = APIRouter(prefix="/api", route_class=JsonRoute)
    reader, spender = authenticator.current("chats"), authenticator.current("chats", "api")
    _add_chats(router, reader, chats)
    _add_messages(router, reader, messages, viewers)
    _add_runs(router, reader, spender, requests, followers)
    _add_executors(router, authenticator, known, presence, runs)
    return router


def _add_chats(router: APIRouter, reader, chats: Chats) -> None:  # type: ignore[no-untyped-def]
    Reader = Annotated[Identity, Depends(reader)]  # noqa: N806

    @router.post("/chats", status_code=201, tags=["chats"], responses=_CHAT)
    async def create(body: NewChat, who: Reader) -> Chat:
        """Makes an empty chat."""
        return await chats.create(who.user_id, body.title)

    @router.get("/chats", tags=["chats"], responses=_CHAT)
    async def listed(who: Reader, limit: Limit = 50, cursor: Cursor = None) -> ChatPage:
        """The user's chats, newest first."""
        page = await chats.page(who.user_id, limit=limit, cursor=cursor)
        return ChatPage(items=list(page.chats), next_cursor=page.next_cursor)

    @router.get("/chats/{chat_id}", tags=["chats"], responses=_CHAT)
    async def get(chat_id: ChatId, who: Reader) -> Chat:
        """One chat, without its messages."""
        return await chats.get(who.user_id, chat_id)

    @router.patch("/chats/{chat_id}", tags=["chats"], responses=_CHAT)
    async def change(chat_id: ChatId, body: ChatPatch, who: Reader) -> Chat:
        """Renames a chat, or shows another of its branches: `head_id` goes to the newest message below."""
        return await chats.change(who.user_id, chat_id, body)

    @router.delete("/chats/{chat_id}", status_code=204, tags=["chats"], responses=_CHAT)
    async def delete(chat_id: ChatId, who: Reader) -> None:
        """Deletes a chat; what runs in it is stopped."""
        await chats.delete(who.user_id, chat_id)


def _add_messages(router: APIRouter, reader, messages: Messages, viewers: Viewers) -> None:  # type: ignore[no-untyped-def]
    Reader = Annotated[Identity, Depends(reader)]  # noqa: N806
    path = "/chats/{chat_id}/messages"

    @router.get(path, tags=["messages"], responses=_CHAT)
    async def listed(chat_id: ChatId, who: Reader, branch_of: BranchOf = None, cursor: Cursor = None) -> MessagePage:
        """The messages of a chat, oldest first; with `branch`, the line that ends in that message.

        A page has about 2 MiB of text; `next_cursor` leads to the next.
        """
        page = await messages.page(who.user_id, chat_id, branch=branch_of, cursor=cursor)
        return MessagePage(items=list(page.messages), next_cursor=page.next_cursor)

    @router.get(path + "/{message_id}", tags=["messages"], responses=_CHAT)
    async def get(chat_id: ChatId, message_id: PathId, who: Reader) -> MessageAt:
        """One whole message, as it stands after the event `seq`; what is written later comes as deltas."""
        return await viewers.message(who.user_id, chat_id, message_id)

    @router.post(path, status_code=201, tags=["messages"], responses=_CHANGE)
    async def add(chat_id: ChatId, body: NewMessage, who: Reader) -> Message:
        """Stores one message and runs nothing."""
        return await messages.add(who.user_id, chat_id, body)

    @router.put(path + "/{message_id}", tags=["messages"], responses=_CHANGE)
    @router.patch(path + "/{message_id}", tags=["messages"], responses=_CHANGE)
    async def edit(chat_id: ChatId, message_id: PathId, body: MessagePatch, who: Reader) -> Message:
        """Corrects a message in place."""
        return await messages.edit(who.user_id, chat_id, message_id, body.content)

    @router.delete(path + "/{message_id}", status_code=204, tags=["messages"], responses=_CHANGE)
    async def remove(chat_id: ChatId, message_id: PathId, who: Reader) -> None:
        """Removes a message and all that follows it; what runs there is stopped."""
        await messages.remove(who.user_id, chat_id, message_id)


def _add_runs(router: APIRouter, reader, spender, requests: RunRequests, followers: Followers) -> None:  # type: ignore[no-untyped-def]
    Reader = Annotated[Identity, Depends(reader)]  # noqa: N806
    Spender = Annotated[Identity, Depends(spender)]  # noqa: N806
    streams = EventStreams()

    @router.post(
        "/chats/{chat_id}/runs",
        status_code=202,
        tags=["runs"],
        responses=_CHANGE | documented("model_not_found", "no_executor", "session_gone"),
    )
    async def start(chat_id: ChatId, body: NewRun, who: Spender) -> Started:
        """Asks for an answer. It comes by the socket, or by `/api/runs/{id}/events`."""
        return await requests.start(who.user_id, chat_id, body)

    @router.get("/runs/{run_id}", tags=["runs"], responses=_CHAT)
    async def get(run_id: PathId, who: Reader) -> Run:
        """A run, as it stands now."""
        return view(await requests.get(who.user_id, run_id))

    @router.post("/runs/{run_id}/stop", tags=["runs"], responses=_CHAT)
    async def stop(run_id: PathId, who: Reader) -> Run:
        """Ends a run with what is there; its executor stops the upstream request."""
        return await requests.stop(who.user_id, run_id)

    @router.get("/runs/{run_id}/events", tags=["runs"], responses=_EVENTS)
    async def events(
        run_id: PathId, who: Reader, after: After = 0, last_event_id: LastEventId = None
    ) -> StreamingResponse:
        """The run's events as server-sent events, until it has ended; `id:` is the seq, to resume after."""
        run = await requests.get(who.user_id, run_id)
        entries = followers.follow_run(run, after if last_event_id is None else last_event_id)
        return StreamingResponse(streams.of(entries), media_type="text/event-stream")


def _add_executors(
    router: APIRouter, authenticator: Authenticator, known: Executors, presence: Presence, runs: Runs
) -> None:
    Anyone = Annotated[Identity, Depends(authenticator.current())]  # noqa: N806
    Person = Annotated[Identity, Depends(authenticator.current("account"))]  # noqa: N806

    @router.get("/executors", tags=["executors"], responses=documented("unauthorized"))
    async def executors(who: Anyone) -> ExecutorPage:
        """The user's executors: those that are connected, and those that are known."""
        return ExecutorPage(items=presence.executors(who.user_id, runs.count))

    @router.delete(
        "/executors/{executor_id}",
        status_code=204,
        tags=["executors"],
        responses=documented("unauthorized", "forbidden", "not_found", "conflict"),
    )
    async def forget(executor_id: PathId, who: Person) -> None:
        """Forgets an executor that is away. What waited for it alone fails; if it comes back, it is a new one."""
        await known.forget(who.user_id, executor_id)

    @router.get("/models", tags=["executors"], responses=documented("unauthorized"))
    async def all_models(who: Anyone) -> ModelPage:
        """What can be run now, and what could be if a known executor came back."""
        return ModelPage(items=models_of(presence.executors(who.user_id, runs.count)))
