"""Connecting: Init, the callbacks, the codes."""

from __future__ import annotations

import asyncio
import copy
import os
import pickle

import pytest

from imd_client import (
    Client,
    Code,
    ConnectionStatus,
    DatabaseOpenStatus,
    DeadlineExceeded,
    ImdError,
    IpcDisconnected,
    Kind,
    Sent,
    Status,
)
from kit import APP_KEY, Stage, an_app, connected, eventually, eventually_answered, free_port, soon, status_that, token


class Callbacks:
    """What was told, in order."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def on_database_opened(self, status: DatabaseOpenStatus) -> None:
        assert status.is_open
        self.told.append("opened")

    def on_success(self, user_id: str) -> None:
        self.told.append(user_id)

    def on_error(self, error: ImdError) -> None:
        self.told.append(error.name)

    @property
    def has_ended(self) -> bool | None:
        return True if self.told and self.told[-1] != "opened" else None


async def test_an_app_connects_and_sees_the_status_on_its_way(stage: Stage) -> None:
    daemon = stage.daemon()
    async with an_app(daemon) as client:
        told: list[Status] = []
        opened: list[DatabaseOpenStatus] = []
        with client.add_connection_status_listener(told.append):
            connecting = client.connect(stage.token("alice"), time_limit=10, on_database_opened=opened.append)
            assert (await soon(connecting.database_opened())).is_open
            assert await soon(connecting) == "alice"
            assert await connecting == "alice", "it can be awaited again"
            assert client.status.is_connected
            assert client.status.user_id == "alice"
            assert client.status.server == stage.broker.url
        assert told[0].connection is ConnectionStatus.UNCONNECTED
        assert told[-1].connection is ConnectionStatus.CONNECTED
        assert [status.generation for status in told] == sorted({status.generation for status in told})
        assert len(opened) == 1
        assert (await client.fetch_status()).is_connected

        await client.disconnect()
        assert client.status.connection is ConnectionStatus.SIGN_OUT
        assert await soon(client.connect(stage.token("alice"))) == "alice"
        await client.logout()
        assert client.status.connection is ConnectionStatus.SIGN_OUT


async def test_the_callbacks_are_told_in_order_and_once(stage: Stage) -> None:
    async with an_app(stage.daemon()) as client:
        callbacks = Callbacks()
        client.connect_with(stage.token("alice"), callbacks, time_limit=10)
        await eventually("the end of the connect", lambda: callbacks.has_ended)
        second = Callbacks()
        client.connect_with(stage.token("alice"), second)
        await eventually("the end of the second", lambda: second.has_ended)
        assert callbacks.told == ["opened", "alice"]
        assert second.told == ["RC_CONNECTION_EXIST"]
        assert client.status.is_connected, "the first one is unharmed"


async def test_a_callback_of_a_closed_client_ends_with_on_error(stage: Stage) -> None:
    callbacks = Callbacks()
    async with an_app(stage.daemon(f"mqtt://127.0.0.1:{free_port()}")) as client:
        client.connect_with(token("alice"), callbacks)
        await status_that(client, lambda status: status.connection is ConnectionStatus.SUSPEND)
    assert callbacks.told == ["opened", "IPC_DISCONNECT"]


async def test_codes_are_told_by_number_and_name_and_what_to_do(stage: Stage) -> None:
    daemon = stage.daemon()
    async with an_app(daemon) as client:
        with pytest.raises(ImdError) as refused:
            await client.unread_count()
        assert (refused.value.code, int(refused.value.code)) == (Code.RC_DB_NOT_INIT, 34301)
        assert refused.value.code.kind is Kind.CALL
        with pytest.raises(ImdError) as refused:
            await soon(client.connect("no token of alice's", user_id="alice"))
        assert (refused.value.code, int(refused.value.code)) == (Code.RC_CONN_TOKEN_INCORRECT, 31004)
        assert refused.value.name == "RC_CONN_TOKEN_INCORRECT"
        assert refused.value.action == "Get a new token and connect with it."
        assert refused.value.sent is Sent.YES
        assert client.status.connection is ConnectionStatus.TOKEN_INCORRECT
        with pytest.raises(ImdError) as refused:
            await soon(client.connect(""))
        assert refused.value.code == Code.INVALID_PARAMETER_TOKEN
    async with Client.build(None, app_id="org.example.Tool", socket=daemon.socket) as tool:
        with pytest.raises(ImdError) as refused:
            await soon(tool.connect(stage.token("alice")))
        assert (refused.value.code, int(refused.value.code)) == (Code.RC_CLIENT_NOT_INIT, 33001)
    with pytest.raises(ImdError) as refused:
        await Client.build("no App Key", app_id="org.example.Chat", socket=daemon.socket)
    assert (refused.value.code, int(refused.value.code)) == (Code.INVALID_APP_KEY, 34257)
    with pytest.raises(ImdError) as refused:
        await Client.build(APP_KEY, app_id="no app id", socket=daemon.socket)
    assert refused.value.code == Code.BIZ_ERROR_INVALID_PARAMETER


async def test_a_time_limit_ends_in_34006(stage: Stage) -> None:
    async with an_app(stage.daemon(f"mqtt://127.0.0.1:{free_port()}")) as client:
        with pytest.raises(ImdError) as refused:
            await soon(client.connect(token("alice"), time_limit=0.3))
        assert (refused.value.code, int(refused.value.code)) == (Code.RC_CONNECT_TIMEOUT, 34006)


async def test_without_a_daemon_the_error_says_how_to_start_one(stage: Stage) -> None:
    daemon = stage.daemon(is_started=False)
    with pytest.raises(IpcDisconnected) as missing:
        await Client.build(APP_KEY, socket=daemon.socket)
    assert (missing.value.code, int(missing.value.code)) == (Code.IPC_DISCONNECT, -2)
    assert isinstance(missing.value, ConnectionError)
    assert missing.value.sent is Sent.NO
    assert "imd" in missing.value.action
    daemon.start_and_wait()
    daemon.kill()
    with pytest.raises(IpcDisconnected, match="nobody listens"):
        await Client.build(APP_KEY, socket=daemon.socket)


async def test_what_is_no_socket_and_no_instance_is_refused(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    for wrong in ({"socket": "/" + "x" * 107}, {"instance": "a/b"}):
        with pytest.raises(ImdError) as refused:
            Client.build(APP_KEY, **wrong)  # type: ignore[arg-type]
        assert refused.value.code == Code.IMD_INVALID_SOCKET_PATH
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    monkeypatch.delenv("IMD_SOCKET", raising=False)
    with pytest.raises(ImdError) as refused:
        Client.build(APP_KEY)
    assert refused.value.code == Code.IMD_INVALID_SOCKET_PATH
    daemon = stage.daemon()
    monkeypatch.setenv("IMD_SOCKET", str(daemon.socket))
    async with Client.build(APP_KEY) as client:
        assert client.instance_id
        assert (await client.apps())[0].app_id.startswith("app.")


async def test_a_socket_whose_name_is_a_url_is_a_socket(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    daemon = stage.daemon(is_started=False)
    daemon.socket = daemon.home / "run" / "a b%20#?.sock"
    daemon.start_and_wait()
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.setenv("grpc_proxy", "http://127.0.0.1:1")
    async with an_app(daemon) as client:
        assert (await client.version()).pid > 0


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a socket away")
async def test_a_socket_of_another_user_is_refused(stage: Stage) -> None:
    daemon = stage.daemon()
    os.chown(daemon.socket, 12345, 12345)
    with pytest.raises(ImdError) as refused:
        await Client.build(APP_KEY, socket=daemon.socket)
    assert (refused.value.code, int(refused.value.code)) == (Code.IMD_REFUSED_PEER, 90009)


async def test_another_app_joins_and_another_account_is_refused(stage: Stage) -> None:
    daemon = stage.daemon()
    async with an_app(daemon, "Chat") as chat, an_app(daemon, "Mail") as mail:
        assert await soon(chat.connect(stage.token("alice"))) == "alice"
        assert await soon(mail.connect(stage.token("alice"))) == "alice"
        async with an_app(daemon, "Other") as other:
            with pytest.raises(ImdError, match="alice") as refused:
                await soon(other.connect(stage.token("bob")))
            assert (refused.value.code, int(refused.value.code)) == (Code.RC_CONNECTION_EXIST, 34001)

        async def only_two() -> bool | None:
            apps = {app.app_id for app in await chat.apps()}
            return True if apps == {"org.example.Chat", "org.example.Mail"} else None

        await eventually_answered("the third to be unbound", only_two)
        await mail.disconnect()
        status = await status_that(chat, lambda status: status.connection is ConnectionStatus.SIGN_OUT)
        assert "org.example.Mail" in status.reason


async def test_one_who_waits_no_longer_cancels_nothing(stage: Stage) -> None:
    async with an_app(stage.daemon()) as client:
        connecting = client.connect(stage.token("alice"))
        waiting = asyncio.ensure_future(soon(connecting))
        await asyncio.sleep(0)
        waiting.cancel()
        await connected(client)
        assert await soon(connecting) == "alice"

        call = asyncio.ensure_future(client.join_group("team"))
        await asyncio.sleep(0)
        call.cancel()

        async def groups() -> tuple[str, ...] | None:
            return tuple(group.group_id for group in await client.groups()) or None

        assert await eventually_answered("the group", groups) == ("team",)


async def test_a_token_is_in_no_words_and_no_log(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    secret = stage.token("alice")
    caplog.set_level("DEBUG")
    async with an_app(stage.daemon()) as client:
        connecting = client.connect(secret)
        await soon(connecting)
        words = [
            repr(connecting),
            repr(client),
            *map(repr, vars(client).values()),
            repr(client._connector._keeper.state),
        ]
    assert not any(secret in text for text in [*words, caplog.text])


def test_an_error_can_be_copied_and_sent_to_another_process() -> None:
    for error in (
        IpcDisconnected(-2, "gone", sent=Sent.UNKNOWN, action="Wait."),
        DeadlineExceeded(90001, "silent", sent=Sent.NO),
        ImdError(31099, "odd", sent=Sent.YES),
    ):
        for twin in (copy.copy(error), pickle.loads(pickle.dumps(error))):
            assert type(twin) is type(error)
            assert (twin.code, twin.text, twin.sent, twin.action) == (error.code, error.text, error.sent, error.action)
    assert str(ImdError(31099, "odd", sent=Sent.YES)) == "UNLISTED (31099): odd"
