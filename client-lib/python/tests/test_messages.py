"""Messages, events, conversations and groups."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

import imd_client
from imd_client import (
    Client,
    Code,
    Content,
    ConversationKey,
    ConversationType,
    Cursor,
    Deleted,
    Direction,
    Event,
    Events,
    ImdError,
    Message,
    MessageState,
    MessageStored,
    Named,
    OfflineSyncCompleted,
    Sent,
    SentStatus,
    Start,
    Started,
    Tail,
    Verdict,
    _link,
)
from imd_client._errors import silent
from kit import Stage, an_app, bound, eventually, eventually_answered, lost, soon

ALICE = ConversationKey.private("alice")
BOB = ConversationKey.private("bob")


@asynccontextmanager
async def two(stage: Stage) -> AsyncIterator[tuple[Client, Client]]:
    """alice and bob, each connected through a daemon of their own."""
    async with an_app(stage.daemon()) as alice, an_app(stage.daemon()) as bob:
        await soon(alice.connect(stage.token("alice")))
        await soon(bob.connect(stage.token("bob")))
        yield alice, bob


async def until(events: Events, is_last: type | None = None, *, text: str | None = None) -> list[Event]:
    """The events up to one of a kind, or a received text."""

    async def read() -> list[Event]:
        seen: list[Event] = []
        async for event in events:
            seen.append(event)
            if is_last is not None and isinstance(event.kind, is_last):
                return seen
            if text is not None and isinstance(event.kind, MessageStored) and event.kind.message.text == text:
                return seen
        raise AssertionError(f"the events ended after {seen}")

    return await soon(read())


def received(events: list[Event]) -> list[Message]:
    return [event.kind.message for event in events if isinstance(event.kind, MessageStored)]


async def test_a_text_is_accepted_sent_and_received(stage: Stage) -> None:
    async with two(stage) as (alice, bob):
        events = bob.subscribe(Tail())
        assert isinstance((await soon(anext(events))).kind, Started)
        sending = alice.send_text("bob", '明天开会吗? "9"\n')
        accepted = await soon(sending.accepted())
        assert (accepted.direction, accepted.conversation) == (Direction.SEND, BOB)
        assert (await soon(sending.sent())).sent_status in (SentStatus.SENT, SentStatus.RECEIVED)
        assert (await soon(sending.received())).sent_status is SentStatus.RECEIVED
        assert (await sending.accepted()).uid == sending.uid, "they can be awaited again"

        [message] = received(await until(events, text='明天开会吗? "9"\n'))
        assert (message.uid, message.sender_user_id, message.conversation) == (sending.uid, "alice", ALICE)
        assert message.direction is Direction.RECEIVE
        assert message.sent_time is not None
        assert message.sent_time.tzinfo is not None
        assert not message.is_read
        await events.aclose()
        assert await anext(events, None) is None


async def test_what_is_stored_is_read_searched_and_deleted(stage: Stage) -> None:
    async with two(stage) as (alice, bob):
        last = [alice.send_text("bob", f"开会 number {number}") for number in range(5)][-1]
        await soon(last.received())

        page = await bob.list_messages(ALICE, limit=2)
        assert [message.text for message in page.messages] == ["开会 number 3", "开会 number 4"]
        assert page.has_more
        older = await bob.list_messages(ALICE, before=page.messages[0].id)
        assert [message.text for message in older.messages] == [f"开会 number {number}" for number in range(3)]
        newer = await bob.list_messages(ALICE, after=page.messages[0].id)
        assert [message.text for message in newer.messages] == ["开会 number 4"]
        assert await bob.get_message(last.uid) == page.messages[1]
        assert await bob.get_message_by_id(page.messages[1].id) == page.messages[1]
        found = await bob.search_messages("会", conversation=ALICE, limit=1)
        assert (found.messages, found.has_more) == ((page.messages[1],), True)
        assert (await bob.search_messages("number", before=found.messages[0].id)).messages[0].id == page.messages[0].id

        assert await bob.unread_count() == 5
        assert await bob.mark_read(ALICE, up_to=page.messages[0].id) == 1
        [conversation] = (await bob.conversations(limit=1)).conversations
        assert (conversation.key, conversation.unread_count) == (ALICE, 1)
        changed = await bob.update_conversation(ALICE, draft="nine?", pinned=True, muted=True)
        assert (changed.draft, changed.is_pinned, changed.is_muted) == ("nine?", True, True)
        assert await bob.unread_count() == 0
        assert await bob.unread_count(include_muted=True) == 1
        changed = await bob.update_conversation(ALICE, muted=False)
        assert (changed.draft, changed.is_pinned, changed.is_muted) == ("nine?", True, False)
        assert await bob.mark_read(ALICE) == 0

        assert await bob.delete_messages([page.messages[1].id]) == 1
        with pytest.raises(ImdError) as missing:
            await bob.get_message(last.uid)
        assert (missing.value.code, int(missing.value.code)) == (Code.RC_DB_DATA_NOT_FOUND, 34304)
        await bob.delete_conversation(ALICE, delete_messages=True)
        assert (await bob.conversations()).conversations == ()
        with pytest.raises(ImdError):
            await bob.conversation(ALICE)


async def test_the_pages_of_the_conversation_list_follow_each_other(stage: Stage) -> None:
    async with an_app(stage.daemon()) as alice:
        await soon(alice.connect(stage.token("alice")))
        for name in ("u1", "u2", "u3"):
            await soon(alice.send_text(name, "hello").accepted())
        first = await alice.conversations(limit=2)
        assert [row.key.target_id for row in first.conversations] == ["u3", "u2"]
        second = await alice.conversations(limit=2, page=first.next_page)
        assert [row.key.target_id for row in second.conversations] == ["u1"]
        assert second.next_page is None


async def test_a_cursor_goes_on_after_the_event_it_is_of(stage: Stage) -> None:
    async with two(stage) as (alice, bob):
        async with bob.subscribe(Named("inbox")) as named:
            assert (await soon(anext(named))).kind == Started(recovered=False)
        async with bob.subscribe(Tail()) as events:
            await soon(anext(events))
            await soon(alice.send_text("bob", "one").received())
            await soon(alice.send_text("bob", "two").received())
            one = (await until(events, text="one"))[-1].cursor
        async with bob.subscribe(one) as events:
            started, *rest = await until(events, text="two")
            assert started.kind == Started(recovered=True)
            assert [message.text for message in received(rest)] == ["two"]
        async with bob.subscribe(Cursor("no such epoch", 7)) as events:
            assert (await soon(anext(events))).kind == Started(recovered=False)

        await bob.ack_events("inbox", one)
        async with bob.subscribe(Named("inbox")) as events:
            assert [message.text for message in received(await until(events, text="two"))] == ["two"]


async def test_a_reader_whose_wait_is_cut_short_loses_nothing(stage: Stage) -> None:
    async with two(stage) as (alice, bob), bob.subscribe(Tail()) as events:
        await soon(anext(events))
        sending = asyncio.ensure_future(_send_many(alice, 40))
        texts: list[str | None] = []
        while len(texts) < 40:
            try:
                event = await asyncio.wait_for(anext(events), 0.001)
            except asyncio.TimeoutError:
                continue
            texts += [message.text for message in received([event])]
        await soon(sending)
        assert texts == [str(number) for number in range(40)]


async def _send_many(client: Client, count: int) -> None:
    for number in range(count):
        await client.send_text("bob", str(number)).accepted()


async def test_many_sends_at_once_keep_their_order_and_their_bound(stage: Stage) -> None:
    async with two(stage) as (alice, bob), bob.subscribe(Tail()) as events:
        await soon(anext(events))
        users = ["bob", *(f"u{number}" for number in range(15))]
        sendings = [alice.send_text(users[number % 16], str(number)) for number in range(1025)]
        with pytest.raises(ImdError) as full:
            await soon(sendings.pop().accepted())
        assert (full.value.code, full.value.sent) == (Code.IMD_TOO_MANY, Sent.NO)
        await soon(asyncio.gather(*(sending.accepted() for sending in sendings)))
        seen = received(await until(events, text="1008"))
        assert [message.text for message in seen] == [str(number) for number in range(0, 1024, 16)]
        await soon(sendings[1008].received())


async def test_the_same_uid_is_the_same_message(stage: Stage) -> None:
    async with two(stage) as (alice, _):
        first = await soon(alice.send_message(BOB, Content.text("once", uid="m-1")).received())
        again = await soon(alice.send_message(BOB, Content.text("once", uid="m-1")).received())
        assert again.id == first.id
        assert len((await alice.list_messages(BOB)).messages) == 1


async def test_what_cannot_be_sent_is_refused_by_code(stage: Stage) -> None:
    async with an_app(stage.daemon()) as alice:
        await soon(alice.connect(stage.token("alice")))
        for key, content, code in (
            (BOB, Content("app:Large", bytes(128 * 1024 + 1)), Code.RC_MSG_CONTENT_EXCEED_LIMIT),
            (BOB, Content("no object name", b""), Code.BIZ_ERROR_INVALID_PARAMETER),
            (ConversationKey.private("a/b"), Content.text("x"), Code.BIZ_ERROR_INVALID_PARAMETER),
            (ConversationKey(ConversationType(77), "x"), Content.text("x"), Code.BIZ_ERROR_INVALID_PARAMETER),
            (ConversationKey.system(), Content.text("x"), Code.SYS_CONVERSATION_NOT_SUPPORT_MESSAGE),
        ):
            sending = alice.send_message(key, content)
            with pytest.raises(ImdError) as refused:
                await soon(sending.accepted())
            assert refused.value.code == code
            with pytest.raises(ImdError):
                await soon(sending.received())
        largest = alice.send_message(BOB, Content("app:Large", bytes(range(256)) * 512, is_counted=False))
        message = await soon(largest.sent())
        assert (message.content, message.is_counted) == (bytes(range(256)) * 512, False)


async def test_offline_messages_wait_in_the_outbox_and_can_be_taken_back(stage: Stage) -> None:
    daemon = stage.daemon()
    async with an_app(daemon) as alice:
        await soon(alice.connect(stage.token("alice")))
        stage.broker.stop()
        first, second = alice.send_text("bob", "first"), alice.send_text("bob", "second")
        await soon(first.accepted())
        row = (await soon(second.accepted())).id
        outbox = await alice.list_outbox(limit=1)
        assert ([message.text for message in outbox.messages], outbox.has_more) == (["first"], True)
        assert outbox.waiting_messages == 2
        assert [message.text for message in (await alice.list_outbox(after=outbox.messages[0].id)).messages] == [
            "second"
        ]
        assert await alice.delete_messages([row]) == 1
        with pytest.raises(ImdError) as gone:
            await soon(second.sent())
        assert gone.value.code == Code.RC_DB_DATA_NOT_FOUND
        assert stage.broker.start()
        await soon(first.sent())


async def test_groups_and_the_system_conversation(stage: Stage) -> None:
    async with two(stage) as (alice, bob), bob.subscribe(Tail()) as events:
        await soon(anext(events))
        team = ConversationKey.group("team")
        await alice.join_group("team")
        await bob.join_group("team")
        [group] = await bob.groups()
        assert (group.group_id, group.code) == ("team", None)
        sending = alice.send_message(team, Content.text("to all"))
        await soon(sending.sent())
        with pytest.raises(ImdError) as unconfirmed:
            await soon(sending.received())
        assert unconfirmed.value.code == Code.BIZ_ERROR_INVALID_PARAMETER
        assert received(await until(events, text="to all"))[-1].conversation == team

        publish = ["mosquitto_pub", "-p", str(stage.broker.port), "-u", "system", "-P", stage.token("system")]
        content = ["-t", "im/demo/s/bob", "-q", "1", "-m", '{"content":"maintenance at 5"}']
        published = await asyncio.create_subprocess_exec(*publish, *content)
        assert await published.wait() == 0
        system = received(await until(events, text="maintenance at 5"))[-1]
        assert system.conversation == ConversationKey.system()
        await bob.quit_group("team")
        assert await bob.groups() == ()


async def test_a_message_that_was_deleted_is_told_so(stage: Stage) -> None:
    daemon = stage.daemon()
    async with an_app(daemon) as alice:
        await soon(alice.connect(stage.token("alice")))
        async with alice.subscribe(Tail()) as events:
            start = (await until(events, Started))[-1].cursor
            message = await soon(alice.send_text("bob", "gone").sent())
            states = await until(events, MessageState)
            assert isinstance(states[-1].kind, MessageState)
            assert states[-1].kind.message.sent_status is SentStatus.SENT
        await alice.delete_messages([message.id])
        # Another run reads the log from disk, and there it has no bodies.
        await daemon.terminate()
        daemon.start()
        await bound(alice)
        async with alice.subscribe(start) as events:
            deleted = (await until(events, Deleted))[-1]
            assert deleted.kind == Deleted(message.id)


async def test_what_was_read_offline_is_told_once_per_connect(stage: Stage) -> None:
    async with an_app(stage.daemon()) as alice:
        events = alice.subscribe(Tail())
        connecting = alice.connect(stage.token("alice"))
        assert (await until(events, OfflineSyncCompleted))[-1].kind == OfflineSyncCompleted(complete=True)
        await soon(connecting)


async def test_a_failed_message_can_be_sent_again(stage: Stage) -> None:
    async with an_app(stage.daemon()) as alice:
        await soon(alice.connect(stage.token("alice")))
        sending = alice.send_message(ConversationKey.group("strangers"), Content.text("may I?"))
        with pytest.raises(ImdError) as refused:
            await soon(sending.sent())
        assert refused.value.sent is Sent.YES
        message = await alice.get_message(sending.uid)
        assert message.sent_status is SentStatus.FAILED
        assert message.failure is not None
        assert message.failure.code == refused.value.code
        assert (await alice.retry_message(sending.uid)).sent_status is SentStatus.SENDING
        again = await eventually_answered("its second end", lambda: _failed(alice, sending.uid))
        assert again.uid == sending.uid


async def _failed(client: Client, uid: str) -> Message | None:
    message = await client.get_message(uid)
    return message if message.sent_status is SentStatus.FAILED else None


async def test_what_tools_ask(stage: Stage) -> None:
    daemon = stage.daemon()
    async with an_app(daemon) as client:
        await soon(client.connect(stage.token("alice")))
        version = await client.version()
        assert daemon.process is not None
        assert (version.pid, version.run_id) == (daemon.process.pid, client.status.daemon_run_id)
        assert version.version == imd_client.__version__
        [app] = await client.apps()
        assert (app.app_id, app.phase.value, app.instance_id) == ("org.example.Chat", "succeeded", client.instance_id)
        assert (app.lag, app.subscriptions) == (None, 0)
        async with client.subscribe(Tail()) as events:
            assert isinstance((await soon(anext(events))).kind, Started)
            [app] = await client.apps()
            assert (app.lag, app.subscriptions) == (0, 1)
        assert client.status.storage_full == (await client.fetch_status()).storage_full == ""
        history = await client.status_history()
        assert [change.name for change in history][-1] == "CONNECTED"
        metrics = await client.metrics()
        assert metrics.endswith("# EOF\n")
        assert f'version="{version.version}"' in metrics
        findings = await client.diagnose()
        assert {finding.verdict for finding in findings} & {Verdict.OK}


async def test_a_timeline_goes_over_restarts_of_the_daemon(stage: Stage) -> None:
    began = datetime.now(timezone.utc)
    daemon = stage.daemon()
    async with an_app(daemon) as client:
        await soon(client.connect(stage.token("alice")))
        runs = [client.status.daemon_run_id]
        await daemon.terminate()
        await lost(client)
        daemon.start()
        runs.append((await bound(client)).daemon_run_id)
        timeline = await client.timeline(began)
        assert [run.run_id for run in timeline.runs] == runs
        stopped, running = timeline.runs
        assert stopped.started is not None
        assert stopped.ended is not None
        assert began - timedelta(seconds=1) < stopped.started <= stopped.ended
        assert daemon.process is not None
        assert (running.ended, running.pid, running.version) == (None, daemon.process.pid, imd_client.__version__)
        assert {change.run_id for change in timeline.changes} == set(runs)
        assert "CONNECTED" in [change.name for change in timeline.changes if change.run_id == runs[0]]
        later = await client.timeline(datetime.now(timezone.utc) + timedelta(hours=1))
        assert len(later.changes) == 1, "the last one before"


async def test_what_is_sent_together_goes_together_and_in_order(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    made = recorded(monkeypatch)
    async with two(stage) as (alice, bob):
        sendings = [alice.send_text("bob", str(number)) for number in range(300)]
        large = [alice.send_message(BOB, Content("app:large", bytes(100_000))) for _ in range(7)]
        refused = alice.send_message(BOB, Content("no name", b"x"))
        sendings.append(alice.send_text("bob", "last"))
        for sending in sendings:
            await soon(sending.received())
        for sending in large:
            await soon(sending.accepted())
        with pytest.raises(ImdError) as wrong:
            await soon(refused.accepted())
        assert (wrong.value.code, wrong.value.sent) == (Code.BIZ_ERROR_INVALID_PARAMETER, Sent.YES)
        # No more than 256, and no more than 512 KiB.
        assert [count for name, count in made if name == "SendMessages"] == [256, 44 + 5, 2 + 2]
        page = await bob.list_messages(ALICE, limit=200)
        texts = [message.text for message in page.messages if message.text is not None]
        assert texts[-50:] == [*map(str, range(251, 300)), "last"]


async def test_an_older_daemon_is_given_one_message_at_a_time(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    made = recorded(monkeypatch, unknown="SendMessages")
    async with two(stage) as (alice, bob):
        sendings = [alice.send_text("bob", str(number)) for number in range(10)]
        refused = alice.send_message(BOB, Content("no name", b"x"))
        sendings.append(alice.send_text("bob", "last"))
        for sending in sendings:
            await soon(sending.received())
        with pytest.raises(ImdError) as wrong:
            await soon(refused.accepted())
        assert wrong.value.code == Code.BIZ_ERROR_INVALID_PARAMETER
        assert [name for name, _ in made].count("SendMessage") == 12
        page = await bob.list_messages(ALICE)
        assert [message.text for message in page.messages] == [*map(str, range(10)), "last"]


def recorded(monkeypatch: pytest.MonkeyPatch, unknown: str = "") -> list[tuple[str, int]]:
    """The calls that are made, and of how many messages; one of them unknown to the daemon, as to an older one."""
    made: list[tuple[str, int]] = []
    exchange = _link.Link.exchange

    async def record(link: _link.Link, method: Any, request: Any, *rest: Any) -> Any:
        made.append((method.name, len(getattr(request, "messages", ()))))
        if method.name == unknown:
            method = replace(method, path=f"{method.path}OfALaterDaemon")
        return await exchange(link, method, request, *rest)

    monkeypatch.setattr(_link.Link, "exchange", record)
    return made


async def test_a_silence_about_one_message_does_not_end_the_wait_for_it(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = 0
    exchange = _link.Link.exchange

    async def silent_once(link: _link.Link, method: Any, request: Any, *rest: Any) -> Any:
        nonlocal asked
        if method.name == "GetMessage":
            asked += 1
            if asked == 1:
                raise silent(method.name, 2.0, Sent.UNKNOWN)
        return await exchange(link, method, request, *rest)

    monkeypatch.setattr(_link.Link, "exchange", silent_once)
    async with two(stage) as (alice, _):
        sending = alice.send_text("bob", "hello")
        await soon(sending.received())
        other = alice.send_text("nobody", "hello")
        await soon(other.sent())
        await eventually("it to be asked again", lambda: True if asked > 1 else None)


def test_a_start_is_one_of_three() -> None:
    starts: tuple[Start, ...] = (Cursor("e", 1), Named("n"), Tail())
    assert len({type(start) for start in starts}) == 3
