"""From the wire's types to the library's own, and back."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta, timezone

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from imd_client._admin import App, ConnectPhase, DaemonRun, Finding, StatusChange, Timeline, Verdict, Version
from imd_client._code_table import Code
from imd_client._event import (
    Cursor,
    Deleted,
    Event,
    EventKind,
    Gap,
    GapKind,
    MessageState,
    MessageStored,
    Named,
    OfflineSyncCompleted,
    Start,
    Started,
    Tail,
    Unlisted,
    Unreadable,
)
from imd_client._generated import admin_pb2, conversation_pb2, event_pb2, group_pb2, message_pb2, session_pb2
from imd_client._message import (
    Conversation,
    ConversationKey,
    ConversationPage,
    ConversationType,
    Direction,
    Group,
    Message,
    MessagePage,
    Outbox,
    SendFailure,
    SentStatus,
)
from imd_client._status import ConnectionStatus, Network, NextRetry, OfflineSync, Status

EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
COUNTED = 3
SAVED = 1


def time(wire: Timestamp) -> datetime | None:
    """A wire time in UTC; `None` where it lies outside of what Python can show."""
    if not 0 <= wire.nanos < 1_000_000_000:
        return None
    try:
        return EPOCH + timedelta(seconds=wire.seconds, microseconds=wire.nanos // 1000)
    except OverflowError:
        return None


def duration(wire: Duration) -> timedelta:
    """A wire duration; none at all where it is too long to be one."""
    try:
        return max(timedelta(seconds=wire.seconds, microseconds=wire.nanos // 1000), timedelta())
    except OverflowError:
        return timedelta()


def code(number: int) -> Code | None:
    """0 stands for none."""
    return Code(number) if number else None


def connection_status(number: int) -> ConnectionStatus:
    """A number of the daemon's. -2 is the library's own word and never a daemon's."""
    if number == ConnectionStatus.DAEMON_LOST:
        return ConnectionStatus.UNCONNECTED
    return ConnectionStatus(number)


NETWORKS = {
    session_pb2.NETWORK_STATE_AVAILABLE: Network.AVAILABLE,
    session_pb2.NETWORK_STATE_UNAVAILABLE: Network.UNAVAILABLE,
}
SYNCS = {
    session_pb2.OFFLINE_SYNC_STATE_RUNNING: OfflineSync.RUNNING,
    session_pb2.OFFLINE_SYNC_STATE_COMPLETE: OfflineSync.COMPLETE,
    session_pb2.OFFLINE_SYNC_STATE_INCOMPLETE: OfflineSync.INCOMPLETE,
}
PHASES = {
    admin_pb2.CONNECT_PHASE_PENDING: ConnectPhase.PENDING,
    admin_pb2.CONNECT_PHASE_SUCCEEDED: ConnectPhase.SUCCEEDED,
}
VERDICTS = {
    admin_pb2.VERDICT_OK: Verdict.OK,
    admin_pb2.VERDICT_WARNING: Verdict.WARNING,
    admin_pb2.VERDICT_FAILED: Verdict.FAILED,
    admin_pb2.VERDICT_INSECURE: Verdict.INSECURE,
}


def status(wire: session_pb2.ConnectionStatus, run_id: str) -> Status:
    """The status of this run of the daemon."""
    connection = connection_status(wire.status)
    at = time(wire.next_retry_time) if wire.HasField("next_retry_time") else None
    return Status(
        connection=connection,
        name=wire.status_name or connection.name,
        generation=wire.generation,
        daemon_run_id=run_id,
        reason=wire.reason,
        attempt=wire.attempt,
        next_retry=NextRetry(at, duration(wire.next_retry_in)) if at else None,
        last_code=code(wire.last_code),
        network=NETWORKS.get(wire.network, Network.UNKNOWN),
        app_key=wire.app_key,
        user_id=wire.user_id,
        server=wire.server,
        changed=time(wire.change_time) if wire.HasField("change_time") else None,
        offline_sync=SYNCS.get(wire.offline_sync, OfflineSync.NOT_CONNECTED),
        storage_full=wire.storage_full,
    )


def to_key(key: ConversationKey) -> message_pb2.ConversationKey:
    """The name of a conversation, for the daemon."""
    # An enum of proto3 is open: a number it does not know goes through.
    return message_pb2.ConversationKey(type=int(key.type), target_id=key.target_id)  # type: ignore[arg-type]


def key(wire: message_pb2.ConversationKey) -> ConversationKey:
    """The name of a conversation."""
    return ConversationKey(ConversationType(wire.type), wire.target_id)


def message(wire: message_pb2.Message) -> Message:
    """A stored message."""
    sent_status = SentStatus(wire.sent_status) if wire.sent_status else None
    has_failed = sent_status is SentStatus.FAILED
    is_own = wire.direction == message_pb2.DIRECTION_SEND
    return Message(
        id=wire.message_id,
        uid=wire.uid,
        conversation=key(wire.conversation),
        sender_user_id=wire.sender_user_id,
        direction=Direction.SEND if is_own else Direction.RECEIVE,
        object_name=wire.object_name,
        content=wire.content,
        is_counted=wire.flags == COUNTED,
        sent_time=time(wire.sent_time) if wire.HasField("sent_time") else None,
        received_time=time(wire.received_time) if wire.HasField("received_time") else None,
        sent_status=sent_status,
        failure=SendFailure(Code(wire.code), wire.code_text) if has_failed else None,
        no_receiver=wire.no_receiver,
        is_read=wire.read,
    )


def message_page(wire: Iterable[message_pb2.Message], has_more: bool) -> MessagePage:
    """A part of a history."""
    return MessagePage(tuple(map(message, wire)), has_more)


def outbox(wire: message_pb2.ListOutboxResponse) -> Outbox:
    """What waits."""
    return Outbox(tuple(map(message, wire.messages)), wire.has_more, wire.waiting_messages, wire.waiting_bytes)


def conversation(wire: conversation_pb2.Conversation) -> Conversation:
    """A row of the list."""
    return Conversation(
        key=key(wire.key),
        unread_count=wire.unread_count,
        last_message=message(wire.last_message) if wire.HasField("last_message") else None,
        draft=wire.draft,
        is_pinned=wire.pinned,
        is_muted=wire.muted,
        updated=time(wire.update_time) if wire.HasField("update_time") else None,
    )


def conversation_page(wire: conversation_pb2.ListConversationsResponse) -> ConversationPage:
    """A part of the list."""
    return ConversationPage(tuple(map(conversation, wire.conversations)), wire.next_page_token or None)


def group(wire: group_pb2.Group) -> Group:
    """A group."""
    joined = time(wire.join_time) if wire.HasField("join_time") else None
    return Group(wire.group_id, joined, code(wire.code))


def to_cursor(cursor: Cursor) -> event_pb2.Cursor:
    """A place in the log, for the daemon."""
    return event_pb2.Cursor(epoch=cursor.epoch, offset=cursor.offset)


def cursor(wire: event_pb2.Cursor) -> Cursor:
    """A place in the log."""
    return Cursor(wire.epoch, wire.offset)


def to_subscribe(start: Start) -> event_pb2.SubscribeRequest:
    """Where a subscription begins."""
    match start:
        case Cursor():
            return event_pb2.SubscribeRequest(cursor=to_cursor(start))
        case Named(name):
            return event_pb2.SubscribeRequest(name=name)
        case Tail():
            return event_pb2.SubscribeRequest(tail=True)


def gap(wire: event_pb2.Gap) -> Gap:
    """Something may be missing."""
    return Gap(
        kind=GapKind(wire.kind),
        conversation=key(wire.conversation) if wire.HasField("conversation") else None,
        sender_user_id=wire.sender_user_id,
        missing=wire.missing or None,
        text=wire.text,
    )


def event_kind(wire: event_pb2.Event) -> EventKind:
    """What happened."""
    match wire.WhichOneof("content"):
        case "message":
            return MessageStored(message(wire.message))
        case "message_state":
            return MessageState(message(wire.message_state))
        case "gap":
            return gap(wire.gap)
        case "offline_sync_completed":
            return OfflineSyncCompleted(wire.offline_sync_completed.complete)
        case "unreadable":
            unreadable = wire.unreadable
            return Unreadable(unreadable.topic, unreadable.reason, unreadable.bytes)
        case "deleted":
            return Deleted(wire.deleted.message_id)
        case _:
            return Unlisted()


def events(page: event_pb2.SubscribeResponse) -> list[Event]:
    """A page of the log."""
    match page.WhichOneof("content"):
        case "started":
            return [Event(cursor(page.started.cursor), None, Started(page.started.recovered))]
        case "events":
            return [
                Event(
                    cursor(wire.cursor),
                    time(wire.time) if wire.HasField("time") else None,
                    event_kind(wire),
                )
                for wire in page.events.events
            ]
        case _:
            # A later daemon's page.
            return []


def version(wire: admin_pb2.GetVersionResponse) -> Version:
    """What a daemon is."""
    return Version(
        version=wire.version,
        protocol_min=wire.protocol_min,
        protocol_max=wire.protocol_max,
        capabilities=tuple(wire.capabilities),
        run_id=wire.daemon_run_id,
        started=time(wire.start_time) if wire.HasField("start_time") else None,
        pid=wire.pid,
        instance=wire.instance,
    )


def app(wire: admin_pb2.App) -> App:
    """A bound app."""
    return App(
        app_id=wire.app_id,
        instance_id=wire.instance_id,
        app_version=wire.app_version,
        pid=wire.pid,
        bound=time(wire.bind_time) if wire.HasField("bind_time") else None,
        app_key=wire.app_key,
        phase=PHASES.get(wire.connect_phase, ConnectPhase.NONE),
        lag=wire.lag if wire.HasField("lag") else None,
        subscriptions=wire.subscriptions,
    )


def status_change(wire: admin_pb2.StatusChange) -> StatusChange:
    """A change of the status."""
    return StatusChange(
        time=time(wire.time) if wire.HasField("time") else None,
        connection=connection_status(wire.status),
        name=wire.status_name,
        generation=wire.generation,
        reason=wire.reason,
        last_code=code(wire.last_code),
        run_id=wire.daemon_run_id,
    )


def timeline(wire: admin_pb2.ListStatusChangesResponse) -> Timeline:
    """Changes and runs."""
    return Timeline(tuple(map(status_change, wire.changes)), tuple(map(daemon_run, wire.runs)))


def daemon_run(wire: admin_pb2.DaemonRun) -> DaemonRun:
    """One run of the daemon."""
    return DaemonRun(
        run_id=wire.daemon_run_id,
        started=time(wire.start_time) if wire.HasField("start_time") else None,
        ended=time(wire.end_time) if wire.HasField("end_time") else None,
        version=wire.version,
        pid=wire.pid,
    )


def to_time(at: datetime) -> Timestamp:
    """A time for the daemon; one without a zone is local, as everywhere in Python."""
    wire = Timestamp()
    wire.FromDatetime(at.astimezone(timezone.utc))
    return wire


def finding(wire: admin_pb2.Finding) -> Finding:
    """What a check found."""
    return Finding(wire.check, VERDICTS.get(wire.verdict, Verdict.SKIPPED), wire.text, wire.mend)
