import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from imd_client._generated import message_pb2 as _message_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class GapKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    GAP_KIND_UNSPECIFIED: _ClassVar[GapKind]
    GAP_KIND_GROUP_SEQUENCE: _ClassVar[GapKind]
    GAP_KIND_OTHER_INSTALLATION: _ClassVar[GapKind]
    GAP_KIND_SESSION_LOST: _ClassVar[GapKind]
    GAP_KIND_DATABASE_DAMAGED: _ClassVar[GapKind]
GAP_KIND_UNSPECIFIED: GapKind
GAP_KIND_GROUP_SEQUENCE: GapKind
GAP_KIND_OTHER_INSTALLATION: GapKind
GAP_KIND_SESSION_LOST: GapKind
GAP_KIND_DATABASE_DAMAGED: GapKind

class SubscribeRequest(_message.Message):
    __slots__ = ("cursor", "name", "tail")
    CURSOR_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    TAIL_FIELD_NUMBER: _ClassVar[int]
    cursor: Cursor
    name: str
    tail: bool
    def __init__(self, cursor: _Optional[_Union[Cursor, _Mapping]] = ..., name: _Optional[str] = ..., tail: bool = ...) -> None: ...

class Cursor(_message.Message):
    __slots__ = ("epoch", "offset")
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    epoch: str
    offset: int
    def __init__(self, epoch: _Optional[str] = ..., offset: _Optional[int] = ...) -> None: ...

class SubscribeResponse(_message.Message):
    __slots__ = ("started", "events")
    STARTED_FIELD_NUMBER: _ClassVar[int]
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    started: Started
    events: Events
    def __init__(self, started: _Optional[_Union[Started, _Mapping]] = ..., events: _Optional[_Union[Events, _Mapping]] = ...) -> None: ...

class Started(_message.Message):
    __slots__ = ("cursor", "recovered")
    CURSOR_FIELD_NUMBER: _ClassVar[int]
    RECOVERED_FIELD_NUMBER: _ClassVar[int]
    cursor: Cursor
    recovered: bool
    def __init__(self, cursor: _Optional[_Union[Cursor, _Mapping]] = ..., recovered: bool = ...) -> None: ...

class Events(_message.Message):
    __slots__ = ("events",)
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    events: _containers.RepeatedCompositeFieldContainer[Event]
    def __init__(self, events: _Optional[_Iterable[_Union[Event, _Mapping]]] = ...) -> None: ...

class Event(_message.Message):
    __slots__ = ("cursor", "time", "message", "message_state", "gap", "offline_sync_completed", "unreadable", "deleted")
    CURSOR_FIELD_NUMBER: _ClassVar[int]
    TIME_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_STATE_FIELD_NUMBER: _ClassVar[int]
    GAP_FIELD_NUMBER: _ClassVar[int]
    OFFLINE_SYNC_COMPLETED_FIELD_NUMBER: _ClassVar[int]
    UNREADABLE_FIELD_NUMBER: _ClassVar[int]
    DELETED_FIELD_NUMBER: _ClassVar[int]
    cursor: Cursor
    time: _timestamp_pb2.Timestamp
    message: _message_pb2.Message
    message_state: _message_pb2.Message
    gap: Gap
    offline_sync_completed: OfflineSyncCompleted
    unreadable: Unreadable
    deleted: Deleted
    def __init__(self, cursor: _Optional[_Union[Cursor, _Mapping]] = ..., time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., message: _Optional[_Union[_message_pb2.Message, _Mapping]] = ..., message_state: _Optional[_Union[_message_pb2.Message, _Mapping]] = ..., gap: _Optional[_Union[Gap, _Mapping]] = ..., offline_sync_completed: _Optional[_Union[OfflineSyncCompleted, _Mapping]] = ..., unreadable: _Optional[_Union[Unreadable, _Mapping]] = ..., deleted: _Optional[_Union[Deleted, _Mapping]] = ...) -> None: ...

class Gap(_message.Message):
    __slots__ = ("kind", "conversation", "sender_user_id", "missing", "text")
    KIND_FIELD_NUMBER: _ClassVar[int]
    CONVERSATION_FIELD_NUMBER: _ClassVar[int]
    SENDER_USER_ID_FIELD_NUMBER: _ClassVar[int]
    MISSING_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    kind: GapKind
    conversation: _message_pb2.ConversationKey
    sender_user_id: str
    missing: int
    text: str
    def __init__(self, kind: _Optional[_Union[GapKind, str]] = ..., conversation: _Optional[_Union[_message_pb2.ConversationKey, _Mapping]] = ..., sender_user_id: _Optional[str] = ..., missing: _Optional[int] = ..., text: _Optional[str] = ...) -> None: ...

class OfflineSyncCompleted(_message.Message):
    __slots__ = ("complete",)
    COMPLETE_FIELD_NUMBER: _ClassVar[int]
    complete: bool
    def __init__(self, complete: bool = ...) -> None: ...

class Unreadable(_message.Message):
    __slots__ = ("topic", "reason", "bytes")
    TOPIC_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    BYTES_FIELD_NUMBER: _ClassVar[int]
    topic: str
    reason: str
    bytes: int
    def __init__(self, topic: _Optional[str] = ..., reason: _Optional[str] = ..., bytes: _Optional[int] = ...) -> None: ...

class Deleted(_message.Message):
    __slots__ = ("message_id",)
    MESSAGE_ID_FIELD_NUMBER: _ClassVar[int]
    message_id: int
    def __init__(self, message_id: _Optional[int] = ...) -> None: ...

class AckEventsRequest(_message.Message):
    __slots__ = ("name", "cursor")
    NAME_FIELD_NUMBER: _ClassVar[int]
    CURSOR_FIELD_NUMBER: _ClassVar[int]
    name: str
    cursor: Cursor
    def __init__(self, name: _Optional[str] = ..., cursor: _Optional[_Union[Cursor, _Mapping]] = ...) -> None: ...

class AckEventsResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...
