"""The same names for code without asyncio."""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta

import pytest

from imd_client import (
    Code,
    ConnectionStatus,
    ConversationKey,
    DatabaseOpenStatus,
    ImdError,
    IpcDisconnected,
    MessageStored,
    SentStatus,
    Started,
    Status,
    Tail,
    sync,
)
from kit import APP_KEY, Daemon, Stage, wait_until


def an_app(daemon: Daemon, name: str = "Chat") -> sync.Client:
    return sync.Client.build(APP_KEY, app_id=f"org.example.{name}", socket=daemon.socket)


class Callbacks:
    """Makes calls of its own from within a callback."""

    def __init__(self, client: sync.Client) -> None:
        self._client = client
        self.told: list[str] = []
        self.threads: set[int] = set()

    def _tell(self, what: str) -> None:
        self.threads.add(threading.get_ident())
        assert self._client.version().pid > 0
        self.told.append(what)

    def on_database_opened(self, status: DatabaseOpenStatus) -> None:
        self._tell(f"opened {status.is_open}")

    def on_success(self, user_id: str) -> None:
        self._tell(user_id)

    def on_error(self, error: ImdError) -> None:
        self._tell(error.name)


def test_calls_wait_and_callbacks_may_make_calls(stage: Stage) -> None:
    with an_app(stage.daemon()) as client:
        callbacks = Callbacks(client)
        client.connect_with(stage.token("alice"), callbacks, time_limit=10)
        wait_until("onSuccess", lambda: callbacks.told[-1:] == ["alice"])
        assert callbacks.told == ["opened True", "alice"]
        assert len(callbacks.threads) == 1
        assert threading.get_ident() not in callbacks.threads
        second = Callbacks(client)
        client.connect_with(stage.token("alice"), second)
        wait_until("onError", lambda: bool(second.told))
        assert second.told == ["RC_CONNECTION_EXIST"]
        client.logout()
        opened: list[DatabaseOpenStatus] = []
        assert client.connect(stage.token("alice"), user_id="alice", on_database_opened=opened.append) == "alice"
        wait_until("onDatabaseOpened", lambda: len(opened) == 1)


def test_messages_and_events_are_waited_for(stage: Stage) -> None:
    with an_app(stage.daemon()) as alice, an_app(stage.daemon()) as bob:
        alice.connect(stage.token("alice"))
        bob.connect(stage.token("bob"))
        with bob.subscribe(Tail()) as events:
            assert isinstance(next(events).kind, Started)
            sending = alice.send_text("bob", "hello")
            assert sending.accepted().uid == sending.uid
            assert sending.sent().sent_status in (SentStatus.SENT, SentStatus.RECEIVED)
            assert sending.received().sent_status is SentStatus.RECEIVED
            stored = next(event.kind for event in events if isinstance(event.kind, MessageStored))
            assert stored.message.text == "hello"
            cursor = stored.message.id
        assert next(events, None) is None

        key = ConversationKey.private("alice")
        assert bob.get_message_by_id(cursor) == bob.get_message(sending.uid) == stored.message
        assert bob.list_messages(key).messages == bob.search_messages("hello").messages == (stored.message,)
        assert bob.unread_count() == 1
        assert bob.mark_read(key) == 0
        assert [row.key for row in bob.conversations().conversations] == [key]
        assert bob.update_conversation(key, pinned=True).is_pinned
        assert bob.conversation(key).is_pinned
        bob.join_group("team")
        assert [group.group_id for group in bob.groups()] == ["team"]
        bob.quit_group("team")
        assert bob.list_outbox().messages == ()
        assert bob.delete_messages([cursor]) == 1
        bob.delete_conversation(key, delete_messages=False)
        with pytest.raises(ImdError) as missing:
            bob.retry_message(sending.uid)
        assert missing.value.code == Code.RC_DB_DATA_NOT_FOUND
        assert bob.fetch_status().is_connected
        assert bob.status_history()[-1].connection is ConnectionStatus.CONNECTED
        assert bob.metrics().endswith("# EOF\n")
        assert bob.timeline(datetime.now() - timedelta(hours=1)).runs[-1].run_id == bob.status.daemon_run_id
        assert bob.diagnose()
        assert [app.instance_id for app in bob.apps()] == [bob.instance_id]
        bob.disconnect()
        assert bob.status.connection is ConnectionStatus.SIGN_OUT


def test_a_cursor_is_kept_by_the_daemon(stage: Stage) -> None:
    from imd_client import Named

    with an_app(stage.daemon()) as alice:
        alice.connect(stage.token("alice"))
        with alice.subscribe(Named("mine")) as events:
            next(events)
            alice.send_text("bob", "hello").accepted()
            last = next(event for event in events if isinstance(event.kind, MessageStored))
        alice.ack_events("mine", last.cursor)
        with alice.subscribe(Named("mine")) as events:
            assert next(events).cursor == last.cursor


def test_a_loss_is_told_once_and_the_app_is_bound_again(stage: Stage) -> None:
    daemon = stage.daemon()
    with an_app(daemon) as client:
        client.connect(stage.token("alice"))
        told: list[Status] = []
        changes = client.status_changes()
        assert next(changes).is_connected
        with client.add_connection_status_listener(told.append):
            daemon.kill()
            assert next(changes).is_daemon_lost
            with pytest.raises(IpcDisconnected):
                client.unread_count()
            daemon.start()
            while not next(changes).is_connected:
                pass
            wait_until("the listener", lambda: bool(told) and told[-1].is_connected)
        assert [status.is_daemon_lost for status in told].count(True) == 1
        changes.close()
        assert next(changes, None) is None


def test_one_client_is_used_on_many_threads(stage: Stage) -> None:
    with an_app(stage.daemon()) as client, an_app(stage.daemon()) as other, ThreadPoolExecutor(8) as threads:
        client.connect(stage.token("alice"))
        other.connect(stage.token("bob"))
        uids = list(threads.map(lambda number: client.send_text("bob", str(number)).received().uid, range(40)))
        assert len(set(uids)) == 40
        assert len(other.list_messages(ConversationKey.private("alice"), limit=200).messages) == 40


def test_a_client_from_before_a_fork_says_so(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """In another process by its number alone: a real fork beside gRPC's threads can end the child in the interpreter
    (a segmentation fault in threading._after_fork, seen once)."""
    with an_app(stage.daemon()) as client:
        parent = os.getpid()
        with monkeypatch.context() as child:
            child.setattr(os, "getpid", lambda: parent + 1)
            with pytest.raises(RuntimeError, match="before a fork"):
                client.version()
        assert client.version().pid > 0


def test_the_librarys_own_thread_does_not_wait_for_itself(stage: Stage) -> None:
    with an_app(stage.daemon()) as client:

        async def inside() -> None:
            client.version()

        with pytest.raises(RuntimeError, match="own thread"):
            client._run(inside())


def test_both_flavours_have_the_same_names() -> None:
    import imd_client

    def names(kind: type) -> set[str]:
        return {name for name in dir(kind) if not name.startswith("_")}

    assert names(sync.Client) == names(imd_client.Client)
    assert names(sync.Sending) == names(imd_client.Sending)
    assert names(sync.StatusListener) == names(imd_client.StatusListener)


def test_a_daemon_can_be_stopped_in_order(stage: Stage) -> None:
    daemon = stage.daemon()
    with an_app(daemon) as client:
        client.shutdown("the test's end")
        wait_until("the loss", lambda: client.status.is_daemon_lost)
        process = daemon.process
        assert process is not None
        wait_until("the daemon's end", lambda: process.poll() is not None)
        daemon.process = None
