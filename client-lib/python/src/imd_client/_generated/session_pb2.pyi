import datetime

from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class NetworkState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    NETWORK_STATE_UNSPECIFIED: _ClassVar[NetworkState]
    NETWORK_STATE_AVAILABLE: _ClassVar[NetworkState]
    NETWORK_STATE_UNAVAILABLE: _ClassVar[NetworkState]

class OfflineSyncState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    OFFLINE_SYNC_STATE_UNSPECIFIED: _ClassVar[OfflineSyncState]
    OFFLINE_SYNC_STATE_RUNNING: _ClassVar[OfflineSyncState]
    OFFLINE_SYNC_STATE_COMPLETE: _ClassVar[OfflineSyncState]
    OFFLINE_SYNC_STATE_INCOMPLETE: _ClassVar[OfflineSyncState]
NETWORK_STATE_UNSPECIFIED: NetworkState
NETWORK_STATE_AVAILABLE: NetworkState
NETWORK_STATE_UNAVAILABLE: NetworkState
OFFLINE_SYNC_STATE_UNSPECIFIED: OfflineSyncState
OFFLINE_SYNC_STATE_RUNNING: OfflineSyncState
OFFLINE_SYNC_STATE_COMPLETE: OfflineSyncState
OFFLINE_SYNC_STATE_INCOMPLETE: OfflineSyncState

class BindRequest(_message.Message):
    __slots__ = ("app_id", "instance_id", "app_version", "protocol_min", "protocol_max", "capabilities")
    APP_ID_FIELD_NUMBER: _ClassVar[int]
    INSTANCE_ID_FIELD_NUMBER: _ClassVar[int]
    APP_VERSION_FIELD_NUMBER: _ClassVar[int]
    PROTOCOL_MIN_FIELD_NUMBER: _ClassVar[int]
    PROTOCOL_MAX_FIELD_NUMBER: _ClassVar[int]
    CAPABILITIES_FIELD_NUMBER: _ClassVar[int]
    app_id: str
    instance_id: str
    app_version: str
    protocol_min: int
    protocol_max: int
    capabilities: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, app_id: _Optional[str] = ..., instance_id: _Optional[str] = ..., app_version: _Optional[str] = ..., protocol_min: _Optional[int] = ..., protocol_max: _Optional[int] = ..., capabilities: _Optional[_Iterable[str]] = ...) -> None: ...

class BindResponse(_message.Message):
    __slots__ = ("hello", "status", "goodbye")
    HELLO_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    GOODBYE_FIELD_NUMBER: _ClassVar[int]
    hello: Hello
    status: ConnectionStatus
    goodbye: Goodbye
    def __init__(self, hello: _Optional[_Union[Hello, _Mapping]] = ..., status: _Optional[_Union[ConnectionStatus, _Mapping]] = ..., goodbye: _Optional[_Union[Goodbye, _Mapping]] = ...) -> None: ...

class Hello(_message.Message):
    __slots__ = ("binding_id", "daemon_version", "protocol", "capabilities", "daemon_run_id", "status")
    BINDING_ID_FIELD_NUMBER: _ClassVar[int]
    DAEMON_VERSION_FIELD_NUMBER: _ClassVar[int]
    PROTOCOL_FIELD_NUMBER: _ClassVar[int]
    CAPABILITIES_FIELD_NUMBER: _ClassVar[int]
    DAEMON_RUN_ID_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    binding_id: str
    daemon_version: str
    protocol: int
    capabilities: _containers.RepeatedScalarFieldContainer[str]
    daemon_run_id: str
    status: ConnectionStatus
    def __init__(self, binding_id: _Optional[str] = ..., daemon_version: _Optional[str] = ..., protocol: _Optional[int] = ..., capabilities: _Optional[_Iterable[str]] = ..., daemon_run_id: _Optional[str] = ..., status: _Optional[_Union[ConnectionStatus, _Mapping]] = ...) -> None: ...

class Goodbye(_message.Message):
    __slots__ = ("reason",)
    REASON_FIELD_NUMBER: _ClassVar[int]
    reason: str
    def __init__(self, reason: _Optional[str] = ...) -> None: ...

class InitRequest(_message.Message):
    __slots__ = ("app_key",)
    APP_KEY_FIELD_NUMBER: _ClassVar[int]
    app_key: str
    def __init__(self, app_key: _Optional[str] = ...) -> None: ...

class InitResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ConnectRequest(_message.Message):
    __slots__ = ("token", "time_limit_seconds", "user_id", "connect_id", "app_key", "database_opened_seen", "resumes")
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    TIME_LIMIT_SECONDS_FIELD_NUMBER: _ClassVar[int]
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    CONNECT_ID_FIELD_NUMBER: _ClassVar[int]
    APP_KEY_FIELD_NUMBER: _ClassVar[int]
    DATABASE_OPENED_SEEN_FIELD_NUMBER: _ClassVar[int]
    RESUMES_FIELD_NUMBER: _ClassVar[int]
    token: str
    time_limit_seconds: int
    user_id: str
    connect_id: str
    app_key: str
    database_opened_seen: bool
    resumes: bool
    def __init__(self, token: _Optional[str] = ..., time_limit_seconds: _Optional[int] = ..., user_id: _Optional[str] = ..., connect_id: _Optional[str] = ..., app_key: _Optional[str] = ..., database_opened_seen: bool = ..., resumes: bool = ...) -> None: ...

class ConnectResponse(_message.Message):
    __slots__ = ("database_opened", "success", "error")
    DATABASE_OPENED_FIELD_NUMBER: _ClassVar[int]
    SUCCESS_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    database_opened: DatabaseOpened
    success: ConnectSuccess
    error: ConnectError
    def __init__(self, database_opened: _Optional[_Union[DatabaseOpened, _Mapping]] = ..., success: _Optional[_Union[ConnectSuccess, _Mapping]] = ..., error: _Optional[_Union[ConnectError, _Mapping]] = ...) -> None: ...

class DatabaseOpened(_message.Message):
    __slots__ = ("code", "code_name", "text")
    CODE_FIELD_NUMBER: _ClassVar[int]
    CODE_NAME_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    code: int
    code_name: str
    text: str
    def __init__(self, code: _Optional[int] = ..., code_name: _Optional[str] = ..., text: _Optional[str] = ...) -> None: ...

class ConnectSuccess(_message.Message):
    __slots__ = ("user_id",)
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    user_id: str
    def __init__(self, user_id: _Optional[str] = ...) -> None: ...

class ConnectError(_message.Message):
    __slots__ = ("code", "code_name", "text", "action")
    CODE_FIELD_NUMBER: _ClassVar[int]
    CODE_NAME_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    ACTION_FIELD_NUMBER: _ClassVar[int]
    code: int
    code_name: str
    text: str
    action: str
    def __init__(self, code: _Optional[int] = ..., code_name: _Optional[str] = ..., text: _Optional[str] = ..., action: _Optional[str] = ...) -> None: ...

class WatchTokenExpiringRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class WatchTokenExpiringResponse(_message.Message):
    __slots__ = ("expire_time",)
    EXPIRE_TIME_FIELD_NUMBER: _ClassVar[int]
    expire_time: _timestamp_pb2.Timestamp
    def __init__(self, expire_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class UpdateTokenRequest(_message.Message):
    __slots__ = ("token", "app_key")
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    APP_KEY_FIELD_NUMBER: _ClassVar[int]
    token: str
    app_key: str
    def __init__(self, token: _Optional[str] = ..., app_key: _Optional[str] = ...) -> None: ...

class UpdateTokenResponse(_message.Message):
    __slots__ = ("expire_time",)
    EXPIRE_TIME_FIELD_NUMBER: _ClassVar[int]
    expire_time: _timestamp_pb2.Timestamp
    def __init__(self, expire_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class DisconnectRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class DisconnectResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class LogoutRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class LogoutResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetStatusRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetStatusResponse(_message.Message):
    __slots__ = ("status",)
    STATUS_FIELD_NUMBER: _ClassVar[int]
    status: ConnectionStatus
    def __init__(self, status: _Optional[_Union[ConnectionStatus, _Mapping]] = ...) -> None: ...

class WatchStatusRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class WatchStatusResponse(_message.Message):
    __slots__ = ("status",)
    STATUS_FIELD_NUMBER: _ClassVar[int]
    status: ConnectionStatus
    def __init__(self, status: _Optional[_Union[ConnectionStatus, _Mapping]] = ...) -> None: ...

class ConnectionStatus(_message.Message):
    __slots__ = ("status", "status_name", "generation", "reason", "attempt", "next_retry_time", "next_retry_in", "last_code", "last_code_name", "network", "app_key", "user_id", "server", "change_time", "offline_sync", "storage_full")
    STATUS_FIELD_NUMBER: _ClassVar[int]
    STATUS_NAME_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    NEXT_RETRY_TIME_FIELD_NUMBER: _ClassVar[int]
    NEXT_RETRY_IN_FIELD_NUMBER: _ClassVar[int]
    LAST_CODE_FIELD_NUMBER: _ClassVar[int]
    LAST_CODE_NAME_FIELD_NUMBER: _ClassVar[int]
    NETWORK_FIELD_NUMBER: _ClassVar[int]
    APP_KEY_FIELD_NUMBER: _ClassVar[int]
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    SERVER_FIELD_NUMBER: _ClassVar[int]
    CHANGE_TIME_FIELD_NUMBER: _ClassVar[int]
    OFFLINE_SYNC_FIELD_NUMBER: _ClassVar[int]
    STORAGE_FULL_FIELD_NUMBER: _ClassVar[int]
    status: int
    status_name: str
    generation: int
    reason: str
    attempt: int
    next_retry_time: _timestamp_pb2.Timestamp
    next_retry_in: _duration_pb2.Duration
    last_code: int
    last_code_name: str
    network: NetworkState
    app_key: str
    user_id: str
    server: str
    change_time: _timestamp_pb2.Timestamp
    offline_sync: OfflineSyncState
    storage_full: str
    def __init__(self, status: _Optional[int] = ..., status_name: _Optional[str] = ..., generation: _Optional[int] = ..., reason: _Optional[str] = ..., attempt: _Optional[int] = ..., next_retry_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., next_retry_in: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., last_code: _Optional[int] = ..., last_code_name: _Optional[str] = ..., network: _Optional[_Union[NetworkState, str]] = ..., app_key: _Optional[str] = ..., user_id: _Optional[str] = ..., server: _Optional[str] = ..., change_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., offline_sync: _Optional[_Union[OfflineSyncState, str]] = ..., storage_full: _Optional[str] = ...) -> None: ...
