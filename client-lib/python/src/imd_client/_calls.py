"""Reading what is stored, and changing it; and what tools ask. All but the last works with the network down."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Coroutine
from datetime import datetime
from typing import Any, TypeVar

from google.protobuf.message import Message as WireMessage

from imd_client import _methods, _wire
from imd_client._admin import App, Finding, StatusChange, Timeline, Version
from imd_client._binder import Binder
from imd_client._event import Cursor
from imd_client._generated import admin_pb2, conversation_pb2, event_pb2, group_pb2, message_pb2
from imd_client._link import DEADLINE, LONG_DEADLINE
from imd_client._message import (
    Conversation,
    ConversationKey,
    ConversationPage,
    Group,
    Message,
    MessagePage,
    Outbox,
)
from imd_client._methods import Method

T = TypeVar("T")
Req = TypeVar("Req", bound=WireMessage)
Res = TypeVar("Res", bound=WireMessage)


class Calls(ABC):
    """The calls that have one answer.

    All of them raise -2 without a daemon, 90001 with one that does not answer within 2 seconds. Those about messages
    raise 34301 before an account is open, 33003 for a wrong argument and 34304 for what is not there.
    """

    _binder: Binder

    @abstractmethod
    async def _shielded(self, work: Coroutine[Any, Any, T]) -> T: ...

    async def _call(self, method: Method[Req, Res], request: Req, deadline: float = DEADLINE) -> Res:
        return await self._shielded(self._make(method, request, deadline))

    async def _make(self, method: Method[Req, Res], request: Req, deadline: float) -> Res:
        return await self._binder.current(method.name).call(method, request, deadline)

    async def ack_events(self, name: str, cursor: Cursor) -> None:
        """Moves the cursor that the daemon keeps for this app and `name`: what `Named` begins after."""
        request = event_pb2.AckEventsRequest(name=name, cursor=_wire.to_cursor(cursor))
        await self._call(_methods.ACK_EVENTS, request)

    async def get_message(self, uid: str) -> Message:
        """One message by its uid; where two senders chose the same, the newest."""
        request = message_pb2.GetMessageRequest(uid=uid)
        return _wire.message((await self._call(_methods.GET_MESSAGE, request)).message)

    async def get_message_by_id(self, message_id: int) -> Message:
        """One message by its row."""
        request = message_pb2.GetMessageRequest(message_id=message_id)
        return _wire.message((await self._call(_methods.GET_MESSAGE, request)).message)

    async def list_messages(
        self,
        conversation: ConversationKey,
        *,
        before: int | None = None,
        after: int | None = None,
        limit: int = 0,
    ) -> MessagePage:
        """A page of a history, in the order of arrival: the newest, the one before or the one after this id. `limit`
        is 1 to 200; 0 is 50."""
        request = message_pb2.ListMessagesRequest(
            conversation=_wire.to_key(conversation),
            before_message_id=before or 0,
            after_message_id=after or 0,
            limit=limit,
        )
        answer = await self._call(_methods.LIST_MESSAGES, request)
        return _wire.message_page(answer.messages, answer.has_more)

    async def search_messages(
        self,
        query: str,
        *,
        conversation: ConversationKey | None = None,
        before: int | None = None,
        limit: int = 0,
    ) -> MessagePage:
        """Full-text search, newest first: 1 to 256 bytes. Chinese, Japanese and Korean are found by any characters in
        a row, other languages by words and beginnings of words. It may take 30 seconds where the index is behind."""
        request = message_pb2.SearchMessagesRequest(
            query=query,
            conversation=None if conversation is None else _wire.to_key(conversation),
            before_message_id=before or 0,
            limit=limit,
        )
        answer = await self._call(_methods.SEARCH_MESSAGES, request, LONG_DEADLINE)
        return _wire.message_page(answer.messages, answer.has_more)

    async def delete_messages(self, message_ids: list[int] | tuple[int, ...]) -> int:
        """Deletes messages from this machine, at most 1,000; gives how many there were."""
        request = message_pb2.DeleteMessagesRequest(message_ids=message_ids)
        return (await self._call(_methods.DELETE_MESSAGES, request)).deleted

    async def retry_message(self, uid: str) -> Message:
        """Puts a FAILED message at the outbox's tail again, under the same uid; gives its state. What becomes of it is
        told by events."""
        request = message_pb2.RetryMessageRequest(uid=uid)
        return _wire.message((await self._call(_methods.RETRY_MESSAGE, request)).message)

    async def list_outbox(self, *, limit: int = 0, after: int | None = None) -> Outbox:
        """What waits to be sent or to be received by the peer, in order, and what has failed: the first page, or the
        one after this id. `limit` is 1 to 200; 0 is 50."""
        request = message_pb2.ListOutboxRequest(limit=limit, after_message_id=after or 0)
        return _wire.outbox(await self._call(_methods.LIST_OUTBOX, request))

    async def conversations(self, *, limit: int = 0, page: str | None = None) -> ConversationPage:
        """A page of the conversation list: the first, or the one after. `limit` is 1 to 200; 0 is 50."""
        request = conversation_pb2.ListConversationsRequest(limit=limit, page_token=page or "")
        return _wire.conversation_page(await self._call(_methods.LIST_CONVERSATIONS, request))

    async def conversation(self, key: ConversationKey) -> Conversation:
        """One conversation; 34304 where there is none."""
        request = conversation_pb2.GetConversationRequest(key=_wire.to_key(key))
        return _wire.conversation((await self._call(_methods.GET_CONVERSATION, request)).conversation)

    async def update_conversation(
        self,
        key: ConversationKey,
        *,
        draft: str | None = None,
        pinned: bool | None = None,
        muted: bool | None = None,
    ) -> Conversation:
        """Sets what is named, and leaves the rest. A draft has 8 KiB at most; an empty one is none."""
        request = conversation_pb2.UpdateConversationRequest(key=_wire.to_key(key))
        if draft is not None:
            request.draft = draft
        if pinned is not None:
            request.pinned = pinned
        if muted is not None:
            request.muted = muted
        return _wire.conversation((await self._call(_methods.UPDATE_CONVERSATION, request)).conversation)

    async def mark_read(self, key: ConversationKey, *, up_to: int | None = None) -> int:
        """Marks messages as read, up to and with this one, or all; gives how many stay unread."""
        request = conversation_pb2.MarkReadRequest(key=_wire.to_key(key), message_id=up_to or 0)
        return (await self._call(_methods.MARK_READ, request)).unread_count

    async def unread_count(self, *, include_muted: bool = False) -> int:
        """Unread messages over all conversations."""
        request = conversation_pb2.GetUnreadCountRequest(include_muted=include_muted)
        return (await self._call(_methods.GET_UNREAD_COUNT, request)).unread_count

    async def delete_conversation(self, key: ConversationKey, *, delete_messages: bool) -> None:
        """Takes a conversation off the list, with its messages if asked to. Its next message brings it back."""
        request = conversation_pb2.DeleteConversationRequest(key=_wire.to_key(key), delete_messages=delete_messages)
        await self._call(_methods.DELETE_CONVERSATION, request)

    async def join_group(self, group_id: str) -> None:
        """Remembers the group and subscribes it; with the network down, at the next login. A server that refuses is
        told by `groups`."""
        await self._call(_methods.JOIN_GROUP, group_pb2.JoinGroupRequest(group_id=group_id))

    async def quit_group(self, group_id: str) -> None:
        """Forgets the group and ends its subscription. Its messages stay."""
        await self._call(_methods.QUIT_GROUP, group_pb2.QuitGroupRequest(group_id=group_id))

    async def groups(self) -> tuple[Group, ...]:
        """The groups whose messages are wanted."""
        answer = await self._call(_methods.LIST_GROUPS, group_pb2.ListGroupsRequest())
        return tuple(map(_wire.group, answer.groups))

    async def version(self) -> Version:
        """What the daemon is."""
        return _wire.version(await self._call(_methods.GET_VERSION, admin_pb2.GetVersionRequest()))

    async def apps(self) -> tuple[App, ...]:
        """The apps that are bound, this one too."""
        answer = await self._call(_methods.LIST_APPS, admin_pb2.ListAppsRequest())
        return tuple(map(_wire.app, answer.apps))

    async def status_history(self) -> tuple[StatusChange, ...]:
        """The last status changes of this run of the daemon, oldest first."""
        answer = await self._call(_methods.LIST_STATUS_CHANGES, admin_pb2.ListStatusChangesRequest())
        return tuple(map(_wire.status_change, answer.changes))

    async def timeline(self, since: datetime) -> Timeline:
        """The status changes since then, those of earlier runs of the daemon too, and the last one before; and the runs
        they were in. A time without a zone is local."""
        request = admin_pb2.ListStatusChangesRequest(since=_wire.to_time(since))
        return _wire.timeline(await self._call(_methods.LIST_STATUS_CHANGES, request))

    async def metrics(self) -> str:
        """The daemon's figures, as OpenMetrics text to its `# EOF`."""
        return (await self._call(_methods.GET_METRICS, admin_pb2.GetMetricsRequest())).open_metrics

    async def diagnose(self, *, probe_broker: bool = False) -> tuple[Finding, ...]:
        """Lets the daemon look at itself, and with `probe_broker` try at the broker what it must refuse. It may take
        30 seconds."""
        request = admin_pb2.DiagnoseRequest(probe_broker=probe_broker)
        answer = await self._call(_methods.DIAGNOSE, request, LONG_DEADLINE)
        return tuple(map(_wire.finding, answer.findings))

    async def shutdown(self, reason: str) -> None:
        """Stops the daemon in order; `reason` is for its log and the apps' goodbye."""
        await self._call(_methods.SHUTDOWN, admin_pb2.ShutdownRequest(reason=reason))
