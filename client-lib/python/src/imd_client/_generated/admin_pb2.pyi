import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ConnectPhase(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    CONNECT_PHASE_UNSPECIFIED: _ClassVar[ConnectPhase]
    CONNECT_PHASE_NONE: _ClassVar[ConnectPhase]
    CONNECT_PHASE_PENDING: _ClassVar[ConnectPhase]
    CONNECT_PHASE_SUCCEEDED: _ClassVar[ConnectPhase]

class Verdict(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    VERDICT_UNSPECIFIED: _ClassVar[Verdict]
    VERDICT_OK: _ClassVar[Verdict]
    VERDICT_WARNING: _ClassVar[Verdict]
    VERDICT_FAILED: _ClassVar[Verdict]
    VERDICT_INSECURE: _ClassVar[Verdict]
    VERDICT_SKIPPED: _ClassVar[Verdict]
CONNECT_PHASE_UNSPECIFIED: ConnectPhase
CONNECT_PHASE_NONE: ConnectPhase
CONNECT_PHASE_PENDING: ConnectPhase
CONNECT_PHASE_SUCCEEDED: ConnectPhase
VERDICT_UNSPECIFIED: Verdict
VERDICT_OK: Verdict
VERDICT_WARNING: Verdict
VERDICT_FAILED: Verdict
VERDICT_INSECURE: Verdict
VERDICT_SKIPPED: Verdict

class GetVersionRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetVersionResponse(_message.Message):
    __slots__ = ("version", "protocol_min", "protocol_max", "capabilities", "daemon_run_id", "start_time", "pid", "instance")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    PROTOCOL_MIN_FIELD_NUMBER: _ClassVar[int]
    PROTOCOL_MAX_FIELD_NUMBER: _ClassVar[int]
    CAPABILITIES_FIELD_NUMBER: _ClassVar[int]
    DAEMON_RUN_ID_FIELD_NUMBER: _ClassVar[int]
    START_TIME_FIELD_NUMBER: _ClassVar[int]
    PID_FIELD_NUMBER: _ClassVar[int]
    INSTANCE_FIELD_NUMBER: _ClassVar[int]
    version: str
    protocol_min: int
    protocol_max: int
    capabilities: _containers.RepeatedScalarFieldContainer[str]
    daemon_run_id: str
    start_time: _timestamp_pb2.Timestamp
    pid: int
    instance: str
    def __init__(self, version: _Optional[str] = ..., protocol_min: _Optional[int] = ..., protocol_max: _Optional[int] = ..., capabilities: _Optional[_Iterable[str]] = ..., daemon_run_id: _Optional[str] = ..., start_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., pid: _Optional[int] = ..., instance: _Optional[str] = ...) -> None: ...

class ShutdownRequest(_message.Message):
    __slots__ = ("reason",)
    REASON_FIELD_NUMBER: _ClassVar[int]
    reason: str
    def __init__(self, reason: _Optional[str] = ...) -> None: ...

class ShutdownResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListAppsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListAppsResponse(_message.Message):
    __slots__ = ("apps",)
    APPS_FIELD_NUMBER: _ClassVar[int]
    apps: _containers.RepeatedCompositeFieldContainer[App]
    def __init__(self, apps: _Optional[_Iterable[_Union[App, _Mapping]]] = ...) -> None: ...

class App(_message.Message):
    __slots__ = ("app_id", "instance_id", "app_version", "pid", "bind_time", "app_key", "connect_phase", "lag", "subscriptions")
    APP_ID_FIELD_NUMBER: _ClassVar[int]
    INSTANCE_ID_FIELD_NUMBER: _ClassVar[int]
    APP_VERSION_FIELD_NUMBER: _ClassVar[int]
    PID_FIELD_NUMBER: _ClassVar[int]
    BIND_TIME_FIELD_NUMBER: _ClassVar[int]
    APP_KEY_FIELD_NUMBER: _ClassVar[int]
    CONNECT_PHASE_FIELD_NUMBER: _ClassVar[int]
    LAG_FIELD_NUMBER: _ClassVar[int]
    SUBSCRIPTIONS_FIELD_NUMBER: _ClassVar[int]
    app_id: str
    instance_id: str
    app_version: str
    pid: int
    bind_time: _timestamp_pb2.Timestamp
    app_key: str
    connect_phase: ConnectPhase
    lag: int
    subscriptions: int
    def __init__(self, app_id: _Optional[str] = ..., instance_id: _Optional[str] = ..., app_version: _Optional[str] = ..., pid: _Optional[int] = ..., bind_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., app_key: _Optional[str] = ..., connect_phase: _Optional[_Union[ConnectPhase, str]] = ..., lag: _Optional[int] = ..., subscriptions: _Optional[int] = ...) -> None: ...

class ListStatusChangesRequest(_message.Message):
    __slots__ = ("since",)
    SINCE_FIELD_NUMBER: _ClassVar[int]
    since: _timestamp_pb2.Timestamp
    def __init__(self, since: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class ListStatusChangesResponse(_message.Message):
    __slots__ = ("changes", "runs")
    CHANGES_FIELD_NUMBER: _ClassVar[int]
    RUNS_FIELD_NUMBER: _ClassVar[int]
    changes: _containers.RepeatedCompositeFieldContainer[StatusChange]
    runs: _containers.RepeatedCompositeFieldContainer[DaemonRun]
    def __init__(self, changes: _Optional[_Iterable[_Union[StatusChange, _Mapping]]] = ..., runs: _Optional[_Iterable[_Union[DaemonRun, _Mapping]]] = ...) -> None: ...

class DaemonRun(_message.Message):
    __slots__ = ("daemon_run_id", "start_time", "end_time", "version", "pid")
    DAEMON_RUN_ID_FIELD_NUMBER: _ClassVar[int]
    START_TIME_FIELD_NUMBER: _ClassVar[int]
    END_TIME_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    PID_FIELD_NUMBER: _ClassVar[int]
    daemon_run_id: str
    start_time: _timestamp_pb2.Timestamp
    end_time: _timestamp_pb2.Timestamp
    version: str
    pid: int
    def __init__(self, daemon_run_id: _Optional[str] = ..., start_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., end_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., version: _Optional[str] = ..., pid: _Optional[int] = ...) -> None: ...

class StatusChange(_message.Message):
    __slots__ = ("time", "status", "status_name", "generation", "reason", "last_code", "last_code_name", "daemon_run_id")
    TIME_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    STATUS_NAME_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    LAST_CODE_FIELD_NUMBER: _ClassVar[int]
    LAST_CODE_NAME_FIELD_NUMBER: _ClassVar[int]
    DAEMON_RUN_ID_FIELD_NUMBER: _ClassVar[int]
    time: _timestamp_pb2.Timestamp
    status: int
    status_name: str
    generation: int
    reason: str
    last_code: int
    last_code_name: str
    daemon_run_id: str
    def __init__(self, time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., status: _Optional[int] = ..., status_name: _Optional[str] = ..., generation: _Optional[int] = ..., reason: _Optional[str] = ..., last_code: _Optional[int] = ..., last_code_name: _Optional[str] = ..., daemon_run_id: _Optional[str] = ...) -> None: ...

class DiagnoseRequest(_message.Message):
    __slots__ = ("probe_broker",)
    PROBE_BROKER_FIELD_NUMBER: _ClassVar[int]
    probe_broker: bool
    def __init__(self, probe_broker: bool = ...) -> None: ...

class DiagnoseResponse(_message.Message):
    __slots__ = ("findings",)
    FINDINGS_FIELD_NUMBER: _ClassVar[int]
    findings: _containers.RepeatedCompositeFieldContainer[Finding]
    def __init__(self, findings: _Optional[_Iterable[_Union[Finding, _Mapping]]] = ...) -> None: ...

class Finding(_message.Message):
    __slots__ = ("check", "verdict", "text", "mend")
    CHECK_FIELD_NUMBER: _ClassVar[int]
    VERDICT_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    MEND_FIELD_NUMBER: _ClassVar[int]
    check: str
    verdict: Verdict
    text: str
    mend: str
    def __init__(self, check: _Optional[str] = ..., verdict: _Optional[_Union[Verdict, str]] = ..., text: _Optional[str] = ..., mend: _Optional[str] = ...) -> None: ...

class GetMetricsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetMetricsResponse(_message.Message):
    __slots__ = ("open_metrics",)
    OPEN_METRICS_FIELD_NUMBER: _ClassVar[int]
    open_metrics: str
    def __init__(self, open_metrics: _Optional[str] = ...) -> None: ...
