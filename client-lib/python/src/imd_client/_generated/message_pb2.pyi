import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ConversationType(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    CONVERSATION_TYPE_UNSPECIFIED: _ClassVar[ConversationType]
    CONVERSATION_TYPE_PRIVATE: _ClassVar[ConversationType]
    CONVERSATION_TYPE_GROUP: _ClassVar[ConversationType]
    CONVERSATION_TYPE_SYSTEM: _ClassVar[ConversationType]

class Direction(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    DIRECTION_UNSPECIFIED: _ClassVar[Direction]
    DIRECTION_SEND: _ClassVar[Direction]
    DIRECTION_RECEIVE: _ClassVar[Direction]
CONVERSATION_TYPE_UNSPECIFIED: ConversationType
CONVERSATION_TYPE_PRIVATE: ConversationType
CONVERSATION_TYPE_GROUP: ConversationType
CONVERSATION_TYPE_SYSTEM: ConversationType
DIRECTION_UNSPECIFIED: Direction
DIRECTION_SEND: Direction
DIRECTION_RECEIVE: Direction

class ConversationKey(_message.Message):
    __slots__ = ("type", "target_id")
    TYPE_FIELD_NUMBER: _ClassVar[int]
    TARGET_ID_FIELD_NUMBER: _ClassVar[int]
    type: ConversationType
    target_id: str
    def __init__(self, type: _Optional[_Union[ConversationType, str]] = ..., target_id: _Optional[str] = ...) -> None: ...

class Message(_message.Message):
    __slots__ = ("message_id", "uid", "conversation", "sender_user_id", "direction", "object_name", "content", "flags", "sent_time", "received_time", "sent_status", "sent_status_name", "code", "code_name", "code_text", "no_receiver", "read")
    MESSAGE_ID_FIELD_NUMBER: _ClassVar[int]
    UID_FIELD_NUMBER: _ClassVar[int]
    CONVERSATION_FIELD_NUMBER: _ClassVar[int]
    SENDER_USER_ID_FIELD_NUMBER: _ClassVar[int]
    DIRECTION_FIELD_NUMBER: _ClassVar[int]
    OBJECT_NAME_FIELD_NUMBER: _ClassVar[int]
    CONTENT_FIELD_NUMBER: _ClassVar[int]
    FLAGS_FIELD_NUMBER: _ClassVar[int]
    SENT_TIME_FIELD_NUMBER: _ClassVar[int]
    RECEIVED_TIME_FIELD_NUMBER: _ClassVar[int]
    SENT_STATUS_FIELD_NUMBER: _ClassVar[int]
    SENT_STATUS_NAME_FIELD_NUMBER: _ClassVar[int]
    CODE_FIELD_NUMBER: _ClassVar[int]
    CODE_NAME_FIELD_NUMBER: _ClassVar[int]
    CODE_TEXT_FIELD_NUMBER: _ClassVar[int]
    NO_RECEIVER_FIELD_NUMBER: _ClassVar[int]
    READ_FIELD_NUMBER: _ClassVar[int]
    message_id: int
    uid: str
    conversation: ConversationKey
    sender_user_id: str
    direction: Direction
    object_name: str
    content: bytes
    flags: int
    sent_time: _timestamp_pb2.Timestamp
    received_time: _timestamp_pb2.Timestamp
    sent_status: int
    sent_status_name: str
    code: int
    code_name: str
    code_text: str
    no_receiver: bool
    read: bool
    def __init__(self, message_id: _Optional[int] = ..., uid: _Optional[str] = ..., conversation: _Optional[_Union[ConversationKey, _Mapping]] = ..., sender_user_id: _Optional[str] = ..., direction: _Optional[_Union[Direction, str]] = ..., object_name: _Optional[str] = ..., content: _Optional[bytes] = ..., flags: _Optional[int] = ..., sent_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., received_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., sent_status: _Optional[int] = ..., sent_status_name: _Optional[str] = ..., code: _Optional[int] = ..., code_name: _Optional[str] = ..., code_text: _Optional[str] = ..., no_receiver: bool = ..., read: bool = ...) -> None: ...

class SendMessageRequest(_message.Message):
    __slots__ = ("conversation", "object_name", "content", "uid", "flags")
    CONVERSATION_FIELD_NUMBER: _ClassVar[int]
    OBJECT_NAME_FIELD_NUMBER: _ClassVar[int]
    CONTENT_FIELD_NUMBER: _ClassVar[int]
    UID_FIELD_NUMBER: _ClassVar[int]
    FLAGS_FIELD_NUMBER: _ClassVar[int]
    conversation: ConversationKey
    object_name: str
    content: bytes
    uid: str
    flags: int
    def __init__(self, conversation: _Optional[_Union[ConversationKey, _Mapping]] = ..., object_name: _Optional[str] = ..., content: _Optional[bytes] = ..., uid: _Optional[str] = ..., flags: _Optional[int] = ...) -> None: ...

class SendMessageResponse(_message.Message):
    __slots__ = ("message", "already_known")
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    ALREADY_KNOWN_FIELD_NUMBER: _ClassVar[int]
    message: Message
    already_known: bool
    def __init__(self, message: _Optional[_Union[Message, _Mapping]] = ..., already_known: bool = ...) -> None: ...

class SendMessagesRequest(_message.Message):
    __slots__ = ("messages",)
    MESSAGES_FIELD_NUMBER: _ClassVar[int]
    messages: _containers.RepeatedCompositeFieldContainer[SendMessageRequest]
    def __init__(self, messages: _Optional[_Iterable[_Union[SendMessageRequest, _Mapping]]] = ...) -> None: ...

class SendMessagesResponse(_message.Message):
    __slots__ = ("outcomes",)
    OUTCOMES_FIELD_NUMBER: _ClassVar[int]
    outcomes: _containers.RepeatedCompositeFieldContainer[SendOutcome]
    def __init__(self, outcomes: _Optional[_Iterable[_Union[SendOutcome, _Mapping]]] = ...) -> None: ...

class SendOutcome(_message.Message):
    __slots__ = ("message", "already_known", "code", "code_name", "code_text")
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    ALREADY_KNOWN_FIELD_NUMBER: _ClassVar[int]
    CODE_FIELD_NUMBER: _ClassVar[int]
    CODE_NAME_FIELD_NUMBER: _ClassVar[int]
    CODE_TEXT_FIELD_NUMBER: _ClassVar[int]
    message: Message
    already_known: bool
    code: int
    code_name: str
    code_text: str
    def __init__(self, message: _Optional[_Union[Message, _Mapping]] = ..., already_known: bool = ..., code: _Optional[int] = ..., code_name: _Optional[str] = ..., code_text: _Optional[str] = ...) -> None: ...

class RetryMessageRequest(_message.Message):
    __slots__ = ("uid",)
    UID_FIELD_NUMBER: _ClassVar[int]
    uid: str
    def __init__(self, uid: _Optional[str] = ...) -> None: ...

class RetryMessageResponse(_message.Message):
    __slots__ = ("message",)
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    message: Message
    def __init__(self, message: _Optional[_Union[Message, _Mapping]] = ...) -> None: ...

class GetMessageRequest(_message.Message):
    __slots__ = ("uid", "message_id")
    UID_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_ID_FIELD_NUMBER: _ClassVar[int]
    uid: str
    message_id: int
    def __init__(self, uid: _Optional[str] = ..., message_id: _Optional[int] = ...) -> None: ...

class GetMessageResponse(_message.Message):
    __slots__ = ("message",)
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    message: Message
    def __init__(self, message: _Optional[_Union[Message, _Mapping]] = ...) -> None: ...

class ListMessagesRequest(_message.Message):
    __slots__ = ("conversation", "before_message_id", "after_message_id", "limit")
    CONVERSATION_FIELD_NUMBER: _ClassVar[int]
    BEFORE_MESSAGE_ID_FIELD_NUMBER: _ClassVar[int]
    AFTER_MESSAGE_ID_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    conversation: ConversationKey
    before_message_id: int
    after_message_id: int
    limit: int
    def __init__(self, conversation: _Optional[_Union[ConversationKey, _Mapping]] = ..., before_message_id: _Optional[int] = ..., after_message_id: _Optional[int] = ..., limit: _Optional[int] = ...) -> None: ...

class ListMessagesResponse(_message.Message):
    __slots__ = ("messages", "has_more")
    MESSAGES_FIELD_NUMBER: _ClassVar[int]
    HAS_MORE_FIELD_NUMBER: _ClassVar[int]
    messages: _containers.RepeatedCompositeFieldContainer[Message]
    has_more: bool
    def __init__(self, messages: _Optional[_Iterable[_Union[Message, _Mapping]]] = ..., has_more: bool = ...) -> None: ...

class SearchMessagesRequest(_message.Message):
    __slots__ = ("query", "conversation", "before_message_id", "limit")
    QUERY_FIELD_NUMBER: _ClassVar[int]
    CONVERSATION_FIELD_NUMBER: _ClassVar[int]
    BEFORE_MESSAGE_ID_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    query: str
    conversation: ConversationKey
    before_message_id: int
    limit: int
    def __init__(self, query: _Optional[str] = ..., conversation: _Optional[_Union[ConversationKey, _Mapping]] = ..., before_message_id: _Optional[int] = ..., limit: _Optional[int] = ...) -> None: ...

class SearchMessagesResponse(_message.Message):
    __slots__ = ("messages", "has_more")
    MESSAGES_FIELD_NUMBER: _ClassVar[int]
    HAS_MORE_FIELD_NUMBER: _ClassVar[int]
    messages: _containers.RepeatedCompositeFieldContainer[Message]
    has_more: bool
    def __init__(self, messages: _Optional[_Iterable[_Union[Message, _Mapping]]] = ..., has_more: bool = ...) -> None: ...

class DeleteMessagesRequest(_message.Message):
    __slots__ = ("message_ids",)
    MESSAGE_IDS_FIELD_NUMBER: _ClassVar[int]
    message_ids: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, message_ids: _Optional[_Iterable[int]] = ...) -> None: ...

class DeleteMessagesResponse(_message.Message):
    __slots__ = ("deleted",)
    DELETED_FIELD_NUMBER: _ClassVar[int]
    deleted: int
    def __init__(self, deleted: _Optional[int] = ...) -> None: ...

class ListOutboxRequest(_message.Message):
    __slots__ = ("limit", "after_message_id")
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    AFTER_MESSAGE_ID_FIELD_NUMBER: _ClassVar[int]
    limit: int
    after_message_id: int
    def __init__(self, limit: _Optional[int] = ..., after_message_id: _Optional[int] = ...) -> None: ...

class ListOutboxResponse(_message.Message):
    __slots__ = ("messages", "has_more", "waiting_messages", "waiting_bytes")
    MESSAGES_FIELD_NUMBER: _ClassVar[int]
    HAS_MORE_FIELD_NUMBER: _ClassVar[int]
    WAITING_MESSAGES_FIELD_NUMBER: _ClassVar[int]
    WAITING_BYTES_FIELD_NUMBER: _ClassVar[int]
    messages: _containers.RepeatedCompositeFieldContainer[Message]
    has_more: bool
    waiting_messages: int
    waiting_bytes: int
    def __init__(self, messages: _Optional[_Iterable[_Union[Message, _Mapping]]] = ..., has_more: bool = ..., waiting_messages: _Optional[int] = ..., waiting_bytes: _Optional[int] = ...) -> None: ...
