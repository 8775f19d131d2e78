"""What is tried at every broker, in this order. Each gives one outcome: a cell of the table.

alice and bob are connected when a scenario begins, and when it ends.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from imd_client import Code, ConnectionStatus, Content, ConversationKey, GapKind, ImdError, SentStatus, Verdict
from interop.broker import DOTTED, GROUP, STRANGER
from interop.raw import V5, Raw
from interop.stage import SOON, Stage, User

WAITING = 1500
"""Messages for a user who is away: more than some brokers keep by themselves."""

UNDER_LOAD = 600
"""Messages on their way while the broker is killed."""

LARGE = 128 * 1000
"""Characters of the largest text: its message has nearly 128 KiB."""


@dataclass(frozen=True)
class Outcome:
    """What came of a scenario."""

    is_good: bool
    """Whether it is as imd wants it."""
    words: str


def bad(words: str) -> Outcome:
    return Outcome(False, words)


def judged(is_good: bool, words: str) -> Outcome:
    return Outcome(is_good, words)


@dataclass(frozen=True)
class Cast:
    """Who is on the stage."""

    stage: Stage
    alice: User
    bob: User

    def raw(self, user: str, client_id: str) -> Raw:
        return Raw(self.stage.broker, self.stage.version, user, client_id)


async def protocol(cast: Cast) -> Outcome:
    """Which MQTT imd speaks with it: 5, or 3.1.1 because 5 was refused."""
    return judged(cast.stage.version == V5, "5" if cast.stage.version == V5 else "3.1.1")


async def login(cast: Cast) -> Outcome:
    """Another user logs in for the first time: onSuccess, and what had waited is known to be read."""
    user = await cast.stage.user(STRANGER)
    await user.connect()
    synced = await user.status(
        "the backlog's end", lambda status: status.offline_sync.value in ("complete", "incomplete")
    )
    await user.client.disconnect()
    await user.close()
    return judged(synced.offline_sync.value == "complete", f"onSuccess, backlog's end {synced.offline_sync.value}")


async def dotted_user(cast: Cast) -> Outcome:
    """A user id with a dot in it logs in, and is written to."""
    user = await cast.stage.user(DOTTED)
    try:
        await user.connect()
    except ImdError as error:
        return bad(f"{error.code}")
    try:
        if not await user.send("bob", ["from a dotted name"], SentStatus.RECEIVED):
            # What alice wrote to such a user might hold up all that she writes to others afterwards.
            return bad("logs in, but what it sends does not arrive")
        received = await cast.alice.send(DOTTED, ["for a dotted name"], SentStatus.RECEIVED)
    finally:
        await user.close()
    return judged(received == 1, "works" if received == 1 else "nothing reaches it")


async def wrong_token(cast: Cast) -> Outcome:
    """A wrong token is refused once and for all, with the code that says so."""
    user = await cast.stage.user(STRANGER)
    try:
        await user.connect("not-the-token")
    except ImdError as error:
        return judged(error.code is Code.RC_CONN_TOKEN_INCORRECT, str(int(error.code)))
    finally:
        await user.close()
    return bad("let in")


async def receipt(cast: Cast) -> Outcome:
    """Private messages go both ways, and each is RECEIVED."""
    before = len(cast.bob.incoming)
    there = await cast.alice.send("bob", [f"there {n}" for n in range(50)], SentStatus.RECEIVED)
    back = await cast.bob.send("alice", [f"back {n}" for n in range(50)], SentStatus.RECEIVED)
    in_order = cast.bob.incoming[before:] == [f"there {n}" for n in range(50)]
    words = f"{there + back} of 100 RECEIVED" + ("" if in_order else ", not in order")
    return judged(there == back == 50 and in_order, words)


async def large(cast: Cast) -> Outcome:
    """The largest message goes through."""
    received = await cast.alice.send("bob", ["x" * LARGE], SentStatus.RECEIVED)
    return judged(received == 1, "yes" if received == 1 else "no")


async def offline(cast: Cast) -> Outcome:
    """What was sent while bob was away comes once, in order."""
    await cast.bob.client.disconnect()
    texts = [f"waiting {n}" for n in range(WAITING)]
    before = len(cast.bob.incoming)
    sent = await cast.alice.send("bob", texts, SentStatus.SENT)
    await cast.bob.connect()
    await cast.bob.settled(before + sent)
    return judged(
        sent == WAITING and cast.bob.incoming[before:] == texts, _compared(texts[:sent], cast.bob.incoming[before:])
    )


async def group(cast: Cast) -> Outcome:
    """Members hear each other."""
    for user in (cast.alice, cast.bob):
        await user.client.join_group(GROUP)
    before = len(cast.bob.incoming)
    heard = False
    # A subscription may be answered before it holds; a member who came late has no claim to the first words.
    for n in range(5):
        await cast.alice.client.send_message(ConversationKey.group(GROUP), Content.text(f"to all {n}")).sent()
        heard = await _comes_true(lambda: len(cast.bob.incoming) > before, 3)
        if heard:
            break
    return judged(heard, "heard" if heard else "not heard")


async def group_stranger(cast: Cast) -> Outcome:
    """Who is no member hears nothing, says nothing, and is told so (22406)."""
    user = await cast.stage.user(STRANGER)
    try:
        await user.connect()
        await user.client.join_group(GROUP)

        async def refused() -> bool:
            return any(group.code is Code.NOT_IN_GROUP for group in await user.client.groups())

        told = await _comes_true_asked(refused, 3)
        heard_before, bob_before = len(user.incoming), len(cast.bob.incoming)
        await cast.alice.client.send_message(ConversationKey.group(GROUP), Content.text("for members alone")).sent()
        await _comes_true(lambda: len(cast.bob.incoming) > bob_before, 5)
        heard = await _comes_true(lambda: len(user.incoming) > heard_before, 2)
        user.client.send_message(ConversationKey.group(GROUP), Content.text("let me in"))
        said = await _comes_true(lambda: STRANGER in cast.bob.senders[bob_before:], 3)
        # A message that the broker answers by closing the connection would be sent again and again.
        stays = await _comes_true(lambda: user.client.status.is_connected, 5)
    finally:
        await user.close()
    words = [
        "22406" if told else "not told",
        "hears" if heard else "hears nothing",
        "speaks" if said else "cannot speak",
        "connection stays" if stays else "connection lost",
    ]
    return judged(told and not heard and not said and stays, ", ".join(words))


async def refused_publish(cast: Cast) -> Outcome:
    """A message the rules refuse fails with a code, and those behind it go on."""
    before = len(cast.bob.incoming)
    failing = cast.alice.client.send_message(ConversationKey.group("others"), Content.text("refused"))
    behind = await cast.alice.send("bob", ["behind a refused one"], SentStatus.SENT)
    came = await _comes_true(lambda: len(cast.bob.incoming) > before, 10)
    try:
        await asyncio.wait_for(failing.sent(), 5)
        words = "told as sent"
    except asyncio.TimeoutError:
        words = "neither sent nor failed"
    except ImdError as error:
        words = f"failed with {error.code}"
    await cast.alice.connected()
    return judged(
        words.startswith("failed") and came and behind == 1,
        f"{words}; {'the next arrives' if came else 'the next waits'}",
    )


async def takeover(cast: Cast) -> Outcome:
    """A second machine of the same user and class kicks the first, which does not fight back."""
    second = await cast.stage.user("alice")
    try:
        await second.connect()
        try:
            status = await cast.alice.status(
                "being kicked",
                lambda status: (
                    status.connection is ConnectionStatus.KICKED_OFFLINE_BY_OTHER_CLIENT
                    or "signed in elsewhere" in status.reason
                ),
                30,
            )
            kicked = status.connection is ConnectionStatus.KICKED_OFFLINE_BY_OTHER_CLIENT
            words = (
                f"{status.name} ({int(status.last_code or 0)})"
                if kicked
                else "\u201csigned in elsewhere?\u201d after 3 bare EOFs"
            )
        except AssertionError:
            kicked = False
            words = "both stay" if cast.alice.client.status.is_connected else str(cast.alice.client.status)
    finally:
        await second.client.disconnect()
        await second.close()
    if not kicked:
        await cast.alice.client.disconnect()
    await cast.alice.connect()
    return judged(kicked, words)


async def foreign_client_id(cast: Cast) -> Outcome:
    """A stranger with an account of the own takes bob's client id."""
    generation = cast.bob.client.status.generation

    async def waits() -> None:
        await asyncio.sleep(1)

    finished = await cast.raw(STRANGER, "desktop:demo:bob").subscribe(f"im/demo/s/{STRANGER}", 2, waits)
    dropped = await _comes_true(lambda: cast.bob.client.status.generation != generation, 2)
    await cast.bob.connected()
    lost = GapKind.SESSION_LOST in cast.bob.gaps
    cast.bob.gaps.clear()
    words = "let in" if finished.is_logged_in else "refused"
    words += ", closes bob's connection" if dropped else ", bob's connection stays"
    words += ", bob's session is lost" if lost else ""
    return judged(not dropped and not lost, words)


async def stranger_reads(cast: Cast) -> Outcome:
    """A stranger listens to bob's inbox, and to everything."""
    let = []
    for topic in ("im/demo/u/bob/+", "im/demo/#", "im/demo/c/bob/+"):

        async def speak() -> None:
            await cast.alice.send("bob", ["for bob alone"], SentStatus.SENT)

        finished = await cast.raw(STRANGER, f"doctor:demo:{STRANGER}").subscribe(topic, 3, speak)
        # What is the stranger's own may be read.
        if any("/bob" in read for read in finished.topics):
            let.append(topic)
    return judged(not let, f"reads {', '.join(let)}" if let else "reads nothing")


async def stranger_writes(cast: Cast) -> Outcome:
    """A stranger writes in alice's name, as the system, and to bob's own channel."""
    word, unreadable = "a word from a stranger", len(cast.bob.unreadable)
    for topic in ("im/demo/u/bob/alice", "im/demo/s/bob"):
        await cast.raw(STRANGER, f"doctor:demo:{STRANGER}").publish(topic, word)

    def seen() -> list[str]:
        # What alice has written herself may still be on its way.
        came = zip(cast.bob.senders, cast.bob.incoming, strict=True)
        return [*cast.bob.unreadable[unreadable:], *(sender for sender, text in came if text == word)]

    through = await _comes_true(lambda: bool(seen()), 3)
    await cast.bob.connected()
    return judged(not through, f"writes: {', '.join(seen())}" if through else "writes nothing")


async def restarted(cast: Cast) -> Outcome:
    """What waits for bob survives an orderly restart of the broker."""
    return await _over_an_end(cast, cast.stage.broker.stop)


async def killed(cast: Cast) -> Outcome:
    """What waits for bob, and his marker, survive kill -9 of the broker."""
    return await _over_an_end(cast, cast.stage.broker.kill9)


async def killed_under_load(cast: Cast) -> Outcome:
    """The broker is killed twice while messages go to bob, who is connected."""
    broker = cast.stage.broker
    texts = [f"load {n}" for n in range(UNDER_LOAD)]
    before = len(cast.bob.incoming)
    # Three short lives of a connection would be taken for another machine of the same user, wherever they come from.
    for user in (cast.alice, cast.bob):
        await user.reconnect()
    sending = []
    for half in (texts[: UNDER_LOAD // 2], texts[UNDER_LOAD // 2 :]):
        sending.append(asyncio.create_task(cast.alice.send("bob", half, SentStatus.SENT)))
        seen = len(cast.bob.incoming)
        await _comes_true(lambda seen=seen: len(cast.bob.incoming) > seen + 20, SOON)  # type: ignore[misc]
        broker.kill9()
        await asyncio.to_thread(broker.start)
        await cast.alice.connected()
        await cast.bob.connected()
    await asyncio.gather(*sending)
    await cast.bob.settled(before + len(texts))
    return _kept(texts, cast.bob.incoming[before:])


async def nodes_killed_under_load(cast: Cast) -> Outcome | None:
    """Each node of a cluster is killed in its turn, and started again, while alice and bob write to each other."""
    broker = cast.stage.broker
    if broker.nodes == 1:
        return None
    pair = ((cast.alice, cast.bob), (cast.bob, cast.alice))
    before = {user.name: len(user.incoming) for user, _ in pair}
    texts: dict[str, list[str]] = {user.name: [] for user, _ in pair}
    sending = []
    for user, _ in pair:
        await user.reconnect()
        user.gaps.clear()
    for turn in range(broker.nodes):
        for user, peer in pair:
            load = [f"from {user.name} while node {turn} is killed {n}" for n in range(UNDER_LOAD // broker.nodes)]
            texts[peer.name] += load
            sending.append(asyncio.create_task(user.send(peer.name, load, SentStatus.SENT)))
        seen = len(cast.bob.incoming)
        await _comes_true(lambda seen=seen: len(cast.bob.incoming) > seen + 20, SOON)  # type: ignore[misc]
        await asyncio.to_thread(broker.kill_node, turn)
        for user, _ in pair:
            await user.connected()
        await asyncio.to_thread(broker.start_node, turn)
        for user, _ in pair:
            await user.connected()
    sent = sum(await asyncio.gather(*sending))
    words, is_good = [f"{sent} of {sum(map(len, texts.values()))} SENT"], True
    for user, _ in pair:
        await user.settled(before[user.name] + len(texts[user.name]))
        kept = _kept(texts[user.name], user.incoming[before[user.name] :])
        lost = user.gaps.count(GapKind.SESSION_LOST)
        words.append(f"to {user.name} {kept.words}" + (f", session lost {lost} times" if lost else ""))
        is_good = is_good and kept.is_good
    return judged(is_good, "; ".join(words))


async def doctor(cast: Cast) -> Outcome:
    """What `imctl doctor --broker` says."""
    findings = [
        finding for finding in await cast.alice.client.diagnose(probe_broker=True) if finding.check.startswith("broker")
    ]
    insecure = [finding.check for finding in findings if finding.verdict is Verdict.INSECURE]
    words = ", ".join(f"{finding.check.removeprefix('broker.')} {finding.verdict.value}" for finding in findings)
    return judged(not insecure, words)


SCENARIOS: tuple[Callable[[Cast], Awaitable[Outcome | None]], ...] = (
    protocol,
    login,
    wrong_token,
    receipt,
    large,
    dotted_user,
    offline,
    group,
    group_stranger,
    refused_publish,
    takeover,
    foreign_client_id,
    stranger_reads,
    stranger_writes,
    doctor,
    restarted,
    killed,
    killed_under_load,
    nodes_killed_under_load,
)


async def _over_an_end(cast: Cast, end: Callable[[], None]) -> Outcome:
    broker = cast.stage.broker
    await cast.bob.client.disconnect()
    texts = [f"over an end {n}" for n in range(200)]
    before = len(cast.bob.incoming)
    cast.bob.gaps.clear()
    sent = await cast.alice.send("bob", texts, SentStatus.SENT)
    await asyncio.to_thread(end)
    await asyncio.to_thread(broker.start)
    marker = await cast.raw("bob", "doctor:demo:bob").subscribe("im/demo/c/bob/desktop", 3)
    await cast.bob.connect()
    await cast.alice.connected()
    await cast.bob.settled(before + sent)
    kept = _kept(texts[:sent], cast.bob.incoming[before:])
    lost_session = GapKind.SESSION_LOST in cast.bob.gaps
    words = [
        kept.words,
        "marker kept" if marker.topics else "marker lost",
        "session lost, told as a gap" if lost_session else "session kept",
    ]
    return judged(kept.is_good and bool(marker.topics) and not lost_session, ", ".join(words))


def _kept(sent: list[str], came: list[str]) -> Outcome:
    missing = len(set(sent) - set(came))
    twice = len(came) - len(set(came))
    words = f"{len(sent) - missing} of {len(sent)}"
    if missing:
        words += f" ({missing} wait in the outbox for their next try)"
    if twice:
        words += f", {twice} twice"
    return judged(not missing and not twice, words)


def _compared(sent: list[str], came: list[str]) -> str:
    if sent == came:
        return f"{len(came)} of {len(sent)}, in order, once"
    kept = _kept(sent, came).words
    return kept if len(set(sent) - set(came)) else f"{kept}, not in order"


async def _comes_true(look: Callable[[], bool], seconds: float) -> bool:
    async def ask() -> bool:
        return look()

    return await _comes_true_asked(ask, seconds)


async def _comes_true_asked(look: Callable[[], Awaitable[bool]], seconds: float) -> bool:
    until = asyncio.get_running_loop().time() + seconds
    while not await look():
        if asyncio.get_running_loop().time() > until:
            return False
        await asyncio.sleep(0.02)
    return True
