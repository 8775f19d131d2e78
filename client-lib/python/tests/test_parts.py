"""The parts that need no daemon."""

from __future__ import annotations

import asyncio
import re
import uuid
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from flit_core import buildapi
from google.protobuf import descriptor
from google.protobuf.any_pb2 import Any
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

import generate
import imd_client
from imd_client import Code, ConnectionStatus, Content, ConversationType, Kind, Loss, Message, Status, _methods, _wire
from imd_client._binder import Binder, Identity
from imd_client._board import BACKLOG, Board, StatusChanges
from imd_client._errors import code_in
from imd_client._generated import message_pb2, session_pb2, status_pb2
from imd_client._keeper import Idle, Keeper, Kept, Pending, Request
from imd_client._redial import Redial
from imd_client._status import daemon_lost
from imd_client._tasks import end
from imd_client._uuid7 import uuid7
from kit import REPOSITORY


def a_status(connection: ConnectionStatus, generation: int, run_id: str = "run 1", **others: object) -> Status:
    status = Status(connection=connection, name=connection.name, generation=generation, daemon_run_id=run_id, reason="")
    return replace(status, **{"app_key": "demo", "user_id": "alice", **others})  # type: ignore[arg-type]


def test_the_classes_of_the_messages_are_those_of_the_proto_files(tmp_path: Path) -> None:
    generate.generate(tmp_path)
    made = {file.name: file.read_text() for file in tmp_path.iterdir()}
    kept = {file.name: file.read_text() for file in generate.GENERATED.iterdir() if file.is_file()}
    assert made == kept, "write them again: python tools/generate.py"


def test_every_call_is_one_of_the_daemons_with_its_own_types() -> None:
    used = [value for value in vars(_methods).values() if isinstance(value, _methods.Method)]
    assert len(used) > 25
    for method in used:
        _, service_name, name = method.path.split("/")
        file: descriptor.FileDescriptor = method.request.DESCRIPTOR.file
        found = file.services_by_name[service_name.rpartition(".")[2]].methods_by_name[name]
        assert found.containing_service.full_name == service_name
        assert (found.input_type, found.output_type) == (method.request.DESCRIPTOR, method.response.DESCRIPTOR)


def test_the_version_is_the_workspaces() -> None:
    found = re.search(r'^version = "(.*)"', (REPOSITORY / "Cargo.toml").read_text(), re.MULTILINE)
    assert found is not None
    assert imd_client.__version__ == found[1]


def test_a_code_has_a_name_and_says_what_to_do() -> None:
    code = Code(31004)
    assert (code.name, code.kind, code.is_terminal) == ("RC_CONN_TOKEN_INCORRECT", Kind.TERMINAL, True)
    assert code is Code.RC_CONN_TOKEN_INCORRECT
    assert str(code) == "RC_CONN_TOKEN_INCORRECT (31004)"
    assert code.action == "Get a new token and connect with it."
    assert len({int(each) for each in Code}) == len(Code)


def test_a_number_outside_of_a_set_keeps_its_number() -> None:
    code = Code(31099)
    assert (code, code.name, code.kind, code.is_terminal) == (31099, "UNLISTED", None, False)
    assert code == Code(31099)
    assert str(ConnectionStatus(77)) == "UNLISTED (77)"
    assert ConversationType(-5) == -5
    with pytest.raises(ValueError, match="text"):
        Code("text")  # type: ignore[arg-type]


def test_a_code_is_read_from_the_details_and_from_nothing_else() -> None:
    def details(domain: str, number: str, name: str = "google.rpc.ErrorInfo") -> bytes:
        info = status_pb2.ErrorInfo(reason="X", domain=domain, metadata={"code": number})
        detail = Any(type_url=f"type.googleapis.com/{name}", value=info.SerializeToString())
        return status_pb2.Status(code=3, message="31004", details=[detail]).SerializeToString()

    assert code_in(details("imd", "31004")) == 31004
    assert code_in(details("imd", "-2")) == -2
    for wrong in (
        details("other", "31004"),
        details("imd", ""),
        details("imd", "text"),
        details("imd", "31004", "google.rpc.Help"),
        b"\xff\xff",
        b"",
    ):
        assert code_in(wrong) is None


def test_a_status_of_a_later_daemon_keeps_its_name_and_number() -> None:
    status = _wire.status(session_pb2.ConnectionStatus(status=77, status_name="WARMING_UP"), "run")
    assert str(status) == "WARMING_UP (77)"
    assert status.last_code is None
    lost = _wire.status(session_pb2.ConnectionStatus(status=-2), "run")
    assert not lost.is_daemon_lost
    assert lost.connection is not ConnectionStatus.DAEMON_LOST


def test_times_beyond_all_clocks_do_no_harm() -> None:
    assert _wire.time(Timestamp(seconds=-1, nanos=5000)) == datetime(1969, 12, 31, 23, 59, 59, 5, timezone.utc)
    assert _wire.time(Timestamp(seconds=2**62)) is None
    assert _wire.time(Timestamp(seconds=0, nanos=-1)) is None
    assert _wire.duration(Duration(seconds=1, nanos=500_000_000)) == timedelta(seconds=1.5)
    assert _wire.duration(Duration(seconds=2**62)) == timedelta()
    assert _wire.duration(Duration(seconds=-1)) == timedelta()


@pytest.mark.parametrize("text", ["", '开会 at "9"\n', "\x1b[31m\\", "\udc80 torn"])
def test_a_text_comes_back_as_it_was_written(text: str) -> None:
    content = Content.text(text)
    message = a_message(content.object_name, content.data)
    assert message.text == text.encode("utf-8", "replace").decode()


@pytest.mark.parametrize(
    ("object_name", "content"),
    [
        ("RC:ImgMsg", b'{"content":"x"}'),
        ("RC:TxtMsg", b"x"),
        ("RC:TxtMsg", b"\xff"),
        ("RC:TxtMsg", b"[1]"),
        ("RC:TxtMsg", b'{"content":1}'),
    ],
)
def test_what_is_no_text_has_none(object_name: str, content: bytes) -> None:
    assert a_message(object_name, content).text is None


def a_message(object_name: str, content: bytes) -> Message:
    return _wire.message(message_pb2.Message(object_name=object_name, content=content))


def test_ids_grow_with_time() -> None:
    ids = [uuid.UUID(uuid7()) for _ in range(100)]
    assert {(each.version, each.variant) for each in ids} == {(7, uuid.RFC_4122)}
    milliseconds = [each.int >> 80 for each in ids]
    assert milliseconds == sorted(milliseconds)
    now = datetime.now(timezone.utc).timestamp() * 1000
    assert abs(milliseconds[-1] - now) < 60_000


def test_the_pauses_between_dials_double_to_a_second() -> None:
    redial = Redial()
    pauses = [redial.next_pause() for _ in range(9)]
    assert pauses == [0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.0, 1.0]
    redial.lived(1.9)
    assert redial.next_pause() == 1.0
    redial.lived(2.0)
    assert redial.next_pause() == 0.01
    redial.restart()
    assert redial.next_pause() == 0.01
    assert all(redial.look(pause) >= 0.01 for pause in pauses)


REQUEST = Request("connect 1", "token", None)
CONNECTED = a_status(ConnectionStatus.CONNECTED, 5)


def kept() -> Keeper:
    keeper = Keeper()
    keeper.begins(REQUEST)
    keeper.succeeded(REQUEST, CONNECTED)
    return keeper


@pytest.mark.parametrize("number", [2, 3, 4, 6, 12, 14, 17])
def test_a_connect_ends_with_every_status_that_is_an_end(number: int) -> None:
    keeper = kept()
    keeper.sees(a_status(ConnectionStatus(number), 4))
    assert isinstance(keeper.state, Kept), "an older status says nothing"
    keeper.sees(a_status(ConnectionStatus(number), 6))
    assert isinstance(keeper.state, Idle)


@pytest.mark.parametrize("number", [-1, 0, 1, 13])
def test_a_connect_lives_on_while_the_daemon_works_at_it(number: int) -> None:
    keeper = kept()
    keeper.sees(a_status(ConnectionStatus(number), 6))
    assert isinstance(keeper.state, Kept)
    assert keeper.bound(a_status(ConnectionStatus(number), 1, "run 2")) == REQUEST


@pytest.mark.parametrize(
    ("status", "is_made_again"),
    [
        (a_status(ConnectionStatus.UNCONNECTED, 1, "run 2", app_key="", user_id=""), True),
        (a_status(ConnectionStatus.UNCONNECTED, 1, "run 2"), False),
        (a_status(ConnectionStatus.UNCONNECTED, 1, "run 2", app_key="", last_code=Code.RC_DISCONN_KICK), False),
        (a_status(ConnectionStatus.SIGN_OUT, 1, "run 2"), False),
        (a_status(ConnectionStatus.CONNECTED, 1, "run 2", user_id="bob"), False),
        (a_status(ConnectionStatus.CONNECTED, 1, "run 2", app_key="other"), False),
    ],
)
def test_a_connect_is_made_again_where_the_daemon_forgot_it_and_not_where_it_ended(
    status: Status, is_made_again: bool
) -> None:
    keeper = kept()
    assert keeper.bound(status) == (REQUEST if is_made_again else None)
    assert isinstance(keeper.state, Kept if is_made_again else Idle)


def test_the_same_run_of_the_daemon_needs_no_second_connect() -> None:
    keeper = kept()
    assert keeper.bound(a_status(ConnectionStatus.SUSPEND, 7)) is None
    assert isinstance(keeper.state, Kept)
    assert keeper.bound(a_status(ConnectionStatus.SIGN_OUT, 8)) is None
    assert isinstance(keeper.state, Idle)


def test_a_second_connect_is_refused_here_where_the_daemon_cannot_know_of_the_first() -> None:
    keeper = Keeper()
    assert not keeper.must_refuse(None)
    keeper.begins(REQUEST)
    assert isinstance(keeper.state, Pending)
    assert keeper.must_refuse(None)
    assert not keeper.must_refuse("run 1")
    keeper.succeeded(REQUEST, CONNECTED)
    assert keeper.must_refuse("run 2")
    assert not keeper.must_refuse("run 1")
    keeper.failed(Request("connect 2", "token", None))
    assert isinstance(keeper.state, Kept), "another connect's error is not this one's"
    keeper.signed_out()
    assert isinstance(keeper.state, Idle)


async def test_a_loss_is_told_once_and_an_old_status_not_again() -> None:
    board = Board(CONNECTED)
    changes = StatusChanges(board)
    for generation in (5, 4, 7, 6):
        board.publish(a_status(ConnectionStatus.SUSPEND, generation))
    board.lost(Loss.DIED, "killed")
    board.lost(Loss.DIED, "end of file")
    board.still_lost(Code.IMD_REFUSED_PEER, "a stranger")
    board.publish(a_status(ConnectionStatus.CONNECTED, 8))
    assert (board.current.reason, board.current.last_code) == ("a stranger", Code.IMD_REFUSED_PEER)
    board.found(a_status(ConnectionStatus.CONNECTING, 1, "run 2"))
    board.close()
    seen = [(status.connection, status.generation) async for status in changes]
    assert seen == [
        (ConnectionStatus.CONNECTED, 5),
        (ConnectionStatus.SUSPEND, 7),
        (ConnectionStatus.DAEMON_LOST, 7),
        (ConnectionStatus.CONNECTING, 1),
    ]


async def test_a_slow_reader_skips_the_oldest_and_ends_with_the_newest() -> None:
    board = Board(CONNECTED)
    changes = StatusChanges(board)
    for generation in range(6, 1000):
        board.publish(a_status(ConnectionStatus.SUSPEND, generation))
    board.close()
    seen = [status.generation async for status in changes]
    assert (len(seen), seen[-1]) == (BACKLOG, 999)


def test_no_type_of_the_wire_is_in_a_signature() -> None:
    import typing

    def hints(kind: type) -> Iterator[str]:
        for name, member in vars(kind).items():
            function = getattr(member, "fget", getattr(member, "__func__", member))
            if not name.startswith("_") and callable(function):
                yield from map(str, typing.get_type_hints(function).values())

    for name in imd_client.__all__:
        value = getattr(imd_client, name)
        if isinstance(value, type):
            assert not [hint for hint in hints(value) if "_pb2" in hint or "grpc" in hint], name


def test_a_daemon_that_was_never_there_is_no_loss() -> None:
    status = daemon_lost(None, Loss.NOT_YET_THERE, "")
    assert (status.generation, status.daemon_run_id, status.last_code) == (0, "", Code.IPC_DISCONNECT)
    assert Binder(Identity(Path("/x"), "a", "", "i", None)).after_outage is None


def test_a_wheel_has_the_classes_and_their_types(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(REPOSITORY / "client-lib" / "python")
    names = zipfile.ZipFile(tmp_path / buildapi.build_wheel(str(tmp_path))).namelist()
    for wanted in ("py.typed", "sync.py", "_generated/session_pb2.py", "_generated/session_pb2.pyi"):
        assert f"imd_client/{wanted}" in names
    assert not [name for name in names if "test" in name or "__pycache__" in name]


async def test_a_task_that_takes_a_cancellation_for_nothing_is_cancelled_again() -> None:
    taken = 0

    async def stubborn() -> None:
        nonlocal taken
        while taken < 3:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                taken += 1

    task = asyncio.ensure_future(stubborn())
    await asyncio.sleep(0)
    await asyncio.wait_for(end({task}), 10)
    assert taken == 3
