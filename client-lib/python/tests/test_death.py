"""The daemon dies, hangs, stops, and comes back."""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from imd_client import (
    Client,
    Code,
    ConnectionStatus,
    ConversationKey,
    DatabaseOpenStatus,
    DeadlineExceeded,
    ImdError,
    IpcDisconnected,
    Loss,
    MessageStored,
    Sending,
    Sent,
    Started,
    Status,
    Tail,
    _binder,
    _connect,
    _link,
)
from imd_client._keeper import Request
from kit import (
    APP_KEY,
    Daemon,
    Stage,
    an_app,
    bound,
    connected,
    eventually,
    eventually_answered,
    free_port,
    lost,
    soon,
    status_that,
    token,
)

ALICE = ConversationKey.private("alice")
JOURNAL_APP = Path(__file__).with_name("journal_app.py")


async def test_a_killed_daemon_is_told_once_and_the_app_is_bound_to_the_next(stage: Stage) -> None:
    daemon = stage.daemon()
    async with an_app(daemon) as client:
        await soon(client.connect(stage.token("alice")))
        told: list[Status] = []
        client.add_connection_status_listener(told.append)
        runs = {client.status.daemon_run_id}
        for _ in range(5):
            daemon.kill()
            status = await lost(client)
            assert (status.connection, status.loss) == (ConnectionStatus.DAEMON_LOST, Loss.DIED)
            assert status.last_code == Code.IPC_DISCONNECT
            with pytest.raises(IpcDisconnected) as gone:
                await client.unread_count()
            assert gone.value.sent is Sent.NO
            daemon.start()
            await connected(client)
            runs.add(client.status.daemon_run_id)
        assert len(runs) == 6
        assert [status.is_daemon_lost for status in told].count(True) == 5
        # The daemon that never saw this connect knows the app as connected.
        app = await eventually_answered("the app to be known as connected", lambda: _succeeded(client))
        assert app == client.instance_id
        with pytest.raises(ImdError) as second:
            await soon(client.connect(stage.token("alice")))
        assert second.value.code == Code.RC_CONNECTION_EXIST


async def _succeeded(client: Client) -> str | None:
    [app] = await client.apps()
    return app.instance_id if app.phase.value == "succeeded" else None


async def test_a_goodbye_is_told_from_a_crash(stage: Stage) -> None:
    daemon = stage.daemon()
    async with an_app(daemon) as client:
        await client.shutdown("an update")
        status = await lost(client)
        assert status.loss is Loss.STOPPED
        assert status.reason.endswith(": an update")
        await daemon.ended()
        daemon.start()
        assert (await bound(client)).loss is None


async def test_why_there_is_no_daemon_is_read_in_the_status_and_told_to_nobody(stage: Stage) -> None:
    daemon = stage.daemon(is_started=False)
    async with an_app(daemon, wait_for_daemon=True) as client:
        told: list[Status] = []
        client.add_connection_status_listener(told.append)
        assert client.status.loss is Loss.NOT_YET_THERE
        daemon.socket.write_text("no socket")
        await eventually("the reason", lambda: True if "is no socket" in client.status.reason else None)
        daemon.socket.unlink()
        daemon.start()
        await bound(client)
        assert [status.is_daemon_lost for status in told] == [True, False]


async def test_a_pending_connect_outlives_the_daemon(stage: Stage) -> None:
    daemon = stage.daemon()
    stage.broker.stop()
    async with an_app(daemon) as client:
        opened: list[DatabaseOpenStatus] = []
        connecting = client.connect(stage.token("alice"), time_limit=60, on_database_opened=opened.append)
        await soon(connecting.database_opened())
        for _ in range(3):
            daemon.kill()
            await lost(client)
            with pytest.raises(ImdError) as second:
                await soon(client.connect(stage.token("alice")))
            assert (second.value.code, second.value.sent) == (Code.RC_CONNECTION_EXIST, Sent.NO)
            daemon.start()
            await bound(client)
            await status_that(client, lambda status: status.connection is ConnectionStatus.SUSPEND)
        daemon.kill()
        await lost(client)
        assert stage.broker.start()
        daemon.start()
        assert await soon(connecting) == "alice"
        assert len(opened) == 1


async def test_a_silent_first_answer_is_not_the_end_of_a_connect(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_link, "DEADLINE", 0.2)
    monkeypatch.setattr(_connect, "_AGAIN", 0.1)
    daemon = stage.daemon()
    async with an_app(daemon) as client:
        asked: list[str] = []
        issue = client._connector._issue

        async def noted(link: _link.Link, request: Request, *rest: Any) -> str:
            asked.append(request.connect_id)
            return await issue(link, request, *rest)

        monkeypatch.setattr(client._connector, "_issue", noted)
        daemon.signal(signal.SIGSTOP)
        connecting = client.connect(stage.token("alice"))
        await eventually("it to be asked for again", lambda: True if len(asked) > 2 else None)
        daemon.signal(signal.SIGCONT)
        assert await soon(connecting) == "alice"
        assert len(set(asked)) == 1, "it is one connect for the daemon, too"
        assert [app.phase.value for app in await client.apps()] == ["succeeded"]


async def test_a_connect_that_is_never_answered_ends_with_its_time_limit_alone(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_link, "DEADLINE", 0.2)
    daemon = stage.daemon()
    async with an_app(daemon) as client:
        daemon.signal(signal.SIGSTOP)
        with pytest.raises(ImdError) as late:
            await soon(client.connect(stage.token("alice"), time_limit=1))
        assert (late.value.code, late.value.sent) == (Code.RC_CONNECT_TIMEOUT, Sent.UNKNOWN)
        daemon.signal(signal.SIGCONT)


async def test_a_listener_that_sends_as_soon_as_it_is_told_of_the_next_daemon_waits_for_the_account(
    stage: Stage,
) -> None:
    daemon = stage.daemon(is_started=False)
    configuration = daemon.home / "imd.toml"
    configuration.write_text(f"{configuration.read_text()}\n[link]\nremember = false\n")
    daemon.start_and_wait()
    async with an_app(daemon) as client:
        await soon(client.connect(stage.token("alice")))
        first = client.status.daemon_run_id
        sendings: list[Sending] = []

        def listen(status: Status) -> None:
            if not status.is_daemon_lost and status.daemon_run_id != first and not sendings:
                sendings.append(client.send_text("bob", "I am back"))

        client.add_connection_status_listener(listen)
        daemon.kill()
        await lost(client)
        daemon.start()
        await eventually("the rebind", lambda: True if sendings else None)
        await soon(sendings[0].accepted())


async def test_the_limit_of_a_connect_ends_it_without_a_daemon_too(stage: Stage) -> None:
    daemon = stage.daemon(f"mqtt://127.0.0.1:{free_port()}")
    async with an_app(daemon) as client:
        connecting = client.connect(token("alice"), time_limit=1)
        await soon(connecting.database_opened())
        daemon.kill()
        with pytest.raises(ImdError) as late:
            await soon(connecting)
        assert (late.value.code, late.value.sent) == (Code.RC_CONNECT_TIMEOUT, Sent.UNKNOWN)
        # One that is called while there is no daemon waits for one.
        with pytest.raises(ImdError) as never:
            await soon(client.connect(token("alice"), time_limit=0.1))
        assert (never.value.code, never.value.sent) == (Code.RC_CONNECT_TIMEOUT, Sent.NO)


async def test_who_signed_out_stays_signed_out_over_a_restart(stage: Stage) -> None:
    daemon = stage.daemon()
    async with an_app(daemon) as client:
        await soon(client.connect(stage.token("alice")))
        await client.disconnect()
        daemon.kill()
        daemon.start()
        await lost(client)
        assert (await bound(client)).connection is ConnectionStatus.UNCONNECTED
        assert [app.phase.value for app in await client.apps()] == ["none"]
        assert await soon(client.connect(stage.token("alice"))) == "alice"


async def test_an_end_is_seen_though_the_next_daemon_was_silent_at_first(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_link, "DEADLINE", 0.5)
    daemon = stage.daemon()
    async with an_app(daemon) as client, an_app(daemon, "Other") as other:
        await soon(client.connect(stage.token("alice")))
        silent = asyncio.Event()

        def stop(status: Status) -> None:
            if silent.is_set() or client.status.daemon_run_id == first:
                return
            if not status.is_daemon_lost:
                daemon.signal(signal.SIGSTOP)
                silent.set()

        first = client.status.daemon_run_id
        client.add_connection_status_listener(stop)
        daemon.kill()
        await lost(client)
        daemon.start()
        await soon(silent.wait())
        # What was asked before these has been given up when they are.
        for _ in range(2):
            with pytest.raises(DeadlineExceeded):
                await client.version()
        daemon.signal(signal.SIGCONT)
        await bound(other)
        await eventually_answered("the sign-out", lambda: _signed_out(other))
        await eventually_answered("a connect that is not refused", lambda: _connects(client, stage))


async def _signed_out(client: Client) -> bool | None:
    try:
        await client.disconnect()
    except ImdError:
        return None
    return True


async def _connects(client: Client, stage: Stage) -> str | None:
    try:
        return await client.connect(stage.token("alice"))
    except ImdError as error:
        if error.code != Code.RC_CONNECTION_EXIST:
            raise
        return None


async def test_each_event_is_seen_once_over_kills(stage: Stage) -> None:
    sender, daemon = stage.daemon(), stage.daemon()
    async with an_app(sender) as alice, an_app(daemon) as bob:
        await soon(alice.connect(stage.token("alice")))
        await soon(bob.connect(stage.token("bob")))
        events = bob.subscribe(Tail())
        assert isinstance((await soon(anext(events))).kind, Started)
        texts: list[str | None] = []

        async def read() -> None:
            async for event in events:
                assert not isinstance(event.kind, Started), "a resumed subscription has no seam"
                if isinstance(event.kind, MessageStored):
                    texts.append(event.kind.message.text)
                    if event.kind.message.text == "199":
                        return

        reading = asyncio.ensure_future(read())
        for number in range(200):
            await soon(alice.send_text("bob", str(number)).accepted())
            if number % 40 == 20:
                seen = len(texts)
                await eventually("some to be read", lambda: True if len(texts) > seen else None)  # noqa: B023
                daemon.kill()
                daemon.start()
        await soon(reading)
        assert texts == [str(number) for number in range(200)]
        await events.aclose()


async def test_messages_are_sent_once_over_kills_of_the_senders_daemon(stage: Stage) -> None:
    daemon, receiver = stage.daemon(), stage.daemon()
    async with an_app(daemon) as alice, an_app(receiver) as bob:
        await soon(alice.connect(stage.token("alice")))
        await soon(bob.connect(stage.token("bob")))
        sendings = []
        for number in range(150):
            sendings.append(alice.send_text("bob", str(number)))
            if number % 50 == 25:
                await asyncio.sleep(0)
                daemon.kill()
                daemon.start()
            await asyncio.sleep(0.002)
        for sending in sendings:
            await soon(sending.received())
        page = await bob.list_messages(ALICE, limit=200)
        assert [message.text for message in page.messages] == [str(number) for number in range(150)]


async def test_a_message_without_a_daemon_fails_when_its_patience_ends(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("imd_client._delivery.PATIENCE", 0.2)
    daemon = stage.daemon()
    async with an_app(daemon) as client:
        daemon.kill()
        await lost(client)
        with pytest.raises(IpcDisconnected) as gone:
            await soon(client.send_text("bob", "anybody?").accepted())
        assert gone.value.sent is Sent.NO


async def test_calls_in_flight_end_with_unknown_when_the_daemon_dies(stage: Stage) -> None:
    daemon = stage.daemon()
    async with an_app(daemon) as client:
        daemon.signal(signal.SIGSTOP)
        calls = [asyncio.ensure_future(client.version()) for _ in range(10)]
        await asyncio.sleep(0)
        daemon.kill()
        for outcome in await soon(asyncio.gather(*calls, return_exceptions=True)):
            assert isinstance(outcome, IpcDisconnected)
            assert outcome.sent is Sent.UNKNOWN


async def test_a_stopped_daemon_answers_nothing_within_two_seconds_and_is_not_lost(stage: Stage) -> None:
    daemon = stage.daemon()
    async with an_app(daemon) as client:
        await soon(client.connect(stage.token("alice")))
        daemon.signal(signal.SIGSTOP)
        began = time.monotonic()
        outcomes = await soon(asyncio.gather(client.version(), client.unread_count(), return_exceptions=True))
        assert 1.9 < time.monotonic() - began < 10
        for outcome in outcomes:
            assert isinstance(outcome, DeadlineExceeded)
            assert isinstance(outcome, TimeoutError)
            assert (outcome.code, outcome.sent) == (Code.IMD_DEADLINE_EXCEEDED, Sent.UNKNOWN)
        assert client.status.is_connected
        with pytest.raises(DeadlineExceeded):
            await Client.build(APP_KEY, app_id="org.example.Late", socket=daemon.socket)
        daemon.signal(signal.SIGCONT)
        assert (await eventually_answered("an answer", lambda: _version(client))) > 0


async def _version(client: Client) -> int | None:
    try:
        return (await client.version()).pid
    except DeadlineExceeded:
        return None


async def test_a_daemon_that_hangs_is_found_out_and_left(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_binder, "KEEP_ALIVE", 0.1)
    monkeypatch.setattr(_binder, "KEEP_ALIVE_TIMEOUT", 0.3)
    monkeypatch.setattr(_link, "DEADLINE", 0.5)
    daemon = stage.daemon()
    async with an_app(daemon) as client:
        daemon.signal(signal.SIGSTOP)
        assert (await lost(client)).loss is Loss.HUNG
        daemon.signal(signal.SIGCONT)
        await bound(client)
        assert (await eventually_answered("an answer", lambda: _version(client))) > 0


async def test_more_calls_than_a_daemon_takes_at_a_time_are_refused(stage: Stage) -> None:
    daemon = stage.daemon()
    async with an_app(daemon) as client:
        daemon.signal(signal.SIGSTOP)
        calls = [asyncio.ensure_future(client.version()) for _ in range(65)]
        await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)
        refused = calls[-1].exception()
        assert isinstance(refused, ImdError)
        assert (refused.code, refused.sent) == (Code.IMD_TOO_MANY, Sent.NO)
        daemon.signal(signal.SIGCONT)
        await soon(asyncio.gather(*calls[:-1]))


async def test_a_daemon_at_the_same_socket_that_does_not_know_the_app_is_a_loss(stage: Stage) -> None:
    daemon = stage.daemon()
    async with an_app(daemon) as client:
        link = client._binder.current("a test")
        link.bound("no such binding")
        with pytest.raises(IpcDisconnected) as gone:
            await client.disconnect()
        assert gone.value.sent is Sent.NO
        await soon(link.is_down())
        await bound(client)
        await client.disconnect()


async def test_an_instance_id_that_another_process_uses_too_is_said_in_words(stage: Stage) -> None:
    daemon = stage.daemon()
    async with an_app(daemon) as client:
        told: list[Status] = []
        client.add_connection_status_listener(told.append)
        other = await _binder.bind(client._binder.identity, None)
        await eventually("the loss", lambda: True if any(status.is_daemon_lost for status in told) else None)
        [lost_to_it] = [status for status in told if status.is_daemon_lost]
        assert lost_to_it.reason.startswith("another process uses the instance id of this one: "), lost_to_it
        await other.link.close()


async def test_a_call_between_the_end_of_the_binding_and_the_goodbye_leaves_the_word_to_the_goodbye(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_link, "GRACE", 10.0)
    refused = 0
    told_how = _link.Link._told_how

    async def noted(link: _link.Link) -> None:
        nonlocal refused
        refused += 1
        await told_how(link)

    monkeypatch.setattr(_link.Link, "_told_how", noted)
    daemon = stage.daemon()
    async with an_app(daemon) as client:
        client._binder.current("a test").bound("a binding that the daemon has ended")
        calls = [asyncio.ensure_future(client.disconnect()) for _ in range(3)]
        await eventually("their refusal", lambda: True if refused == len(calls) else None)
        daemon.signal(signal.SIGTERM)
        assert (await lost(client)).loss is Loss.STOPPED
        for outcome in await soon(asyncio.gather(*calls, return_exceptions=True)):
            assert isinstance(outcome, IpcDisconnected)
            assert outcome.sent is Sent.NO
        await daemon.ended()


async def test_a_client_that_is_closed_ends_whatever_waits(stage: Stage) -> None:
    daemon = stage.daemon()
    stage.broker.stop()
    async with an_app(daemon) as client:
        connecting = client.connect(stage.token("alice"))
        await soon(connecting.database_opened())
        sending = client.send_text("bob", "hello")
        await soon(sending.accepted())
        events, changes = client.subscribe(Tail()), client.status_changes()
    for waited in (connecting, sending.sent(), client.version()):
        with pytest.raises(IpcDisconnected):
            await soon(waited)
    with pytest.raises(IpcDisconnected):
        client.connect("token")
    assert [event async for event in events if not isinstance(event.kind, Started | MessageStored)] == []
    assert len([status async for status in changes]) > 0
    assert len([status async for status in client.status_changes()]) == 1
    # Nothing of it goes on, and gRPC's own tasks end by themselves.
    await eventually("the end of all tasks", lambda: True if len(asyncio.all_tasks()) == 1 else None)


async def test_the_journal_app_reads_each_message_once_over_kills(stage: Stage, tmp_path: Path) -> None:
    sender, daemon = stage.daemon(), stage.daemon()
    # So many that the sender is at work when its daemon is killed for the third time.
    messages_sent = 2000
    async with an_app(sender) as alice, an_app(daemon) as bob:
        await soon(alice.connect(stage.token("alice")))
        await soon(bob.connect(stage.token("bob")))
        read, sent = tmp_path / "read", tmp_path / "sent"
        reader = await asyncio.create_subprocess_exec(
            sys.executable, JOURNAL_APP, "read", str(daemon.socket), str(read)
        )
        try:
            await eventually("the reader to begin", lambda: True if _lines(read) or reader.returncode else None)
            writer = await asyncio.create_subprocess_exec(
                *(sys.executable, JOURNAL_APP, "send", str(sender.socket), str(sent), "bob", str(messages_sent)),
                str(tmp_path / "stop"),
            )
            for count in (50, 120, 200):
                await eventually("some to be read", lambda: True if len(_lines(read)) > count else None)  # noqa: B023
                await _kill_and_start(daemon, bob)
                await _kill_and_start(sender, alice)
            assert await soon(writer.wait()) == 0
            await eventually("all to be read", lambda: True if len(_lines(read)) > messages_sent else None)
            told = tmp_path / "read.told"
            await eventually("the reader to be told of each loss", lambda: True if len(_lines(told)) >= 7 else None)
        finally:
            if reader.returncode is None:
                reader.kill()
            await reader.wait()
        messages = [line.split(" ", 4) for line in _lines(read) if line.split(" ")[2] == "message"]
        assert [words[3] for words in messages] == [f"m-{number:08}" for number in range(messages_sent)]
        assert [words[4] for words in messages] == [f"message {number}" for number in range(messages_sent)]
        assert _lines(sent) == [f"m-{number:08}" for number in range(messages_sent)]
        for told in (tmp_path / "read.told", tmp_path / "sent.told"):
            assert [line.split()[0] for line in _lines(told)] == ["bound", *["lost", "bound"] * 3]


def _lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


async def _kill_and_start(daemon: Daemon, client: Client) -> None:
    daemon.kill()
    await lost(client)
    daemon.start()
    await bound(client)


def test_a_time_limit_is_never_cut_down_to_none() -> None:
    from datetime import timedelta

    assert _connect.seconds(timedelta(milliseconds=1)) == 1
    assert _connect.seconds(0.001) == 1
    assert _connect.seconds(30) == 30
    assert _connect.seconds(1e300) == 2**31 - 1
    assert _connect.seconds(-1) == _connect.seconds(0) == _connect.seconds(None) == 0
