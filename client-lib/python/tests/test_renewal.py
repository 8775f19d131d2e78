"""A token near its end: who is asked for another one, and what update_token does."""

from __future__ import annotations

import asyncio
import signal

import pytest

from imd_client import Code, ImdError, TokenExpiring
from imd_client.sync import Client as SyncClient
from kit import APP_KEY, Stage, an_app, eventually, made, soon, status_that, wait_until

BROUGHT = "has brought the token for the next login"


async def test_an_app_is_asked_for_a_token_and_the_link_stays(stage: Stage) -> None:
    daemon = stage.daemon()
    asked: list[TokenExpiring] = []

    async def provide(expiring: TokenExpiring) -> str:
        asked.append(expiring)
        return made("carol", 0, 3600)

    async with an_app(daemon) as client:
        with client.set_token_provider(provide):
            await soon(client.connect(stage.token("carol")))
            status = await status_that(client, lambda status: BROUGHT in status.reason)
        assert status.is_connected
        assert len(asked) == 1
        assert asked[0].expires is not None


async def test_a_provider_that_fails_is_asked_again_by_the_next_daemon(stage: Stage) -> None:
    daemon = stage.daemon()
    asked: list[TokenExpiring] = []

    async def provide(expiring: TokenExpiring) -> str:
        asked.append(expiring)
        raise RuntimeError("the app's server is away")

    async with an_app(daemon) as client:
        client.set_token_provider(provide)
        await soon(client.connect(stage.token("carol")))
        await eventually("the question", lambda: True if asked else None)
        daemon.kill()
        daemon.start()
        await eventually("the next daemon's question", lambda: True if len(asked) > 1 else None)


async def test_a_client_that_is_closed_while_it_brings_a_token_ends(stage: Stage) -> None:
    daemon = stage.daemon()
    connected, brings = asyncio.Event(), asyncio.Event()

    async def provide(_expiring: TokenExpiring) -> str:
        await connected.wait()
        daemon.signal(signal.SIGSTOP)
        # Some turns of the loop later the call is under way.
        asyncio.get_running_loop().call_later(0.05, brings.set)
        return made("carol", 0, 3600)

    async with an_app(daemon) as client:
        provider = client.set_token_provider(provide)
        await soon(client.connect(stage.token("carol")))
        connected.set()
        await soon(brings.wait())
        provider.close()
        await soon(client.close())
    daemon.signal(signal.SIGCONT)


async def test_a_token_of_another_user_and_one_without_a_connection_are_refused(stage: Stage) -> None:
    daemon = stage.daemon()
    async with an_app(daemon) as client:
        await soon(client.connect(stage.token("alice")))
        with pytest.raises(ImdError) as refused:
            await client.update_token(made("bob", 0, 3600))
        assert refused.value.code == Code.RC_CONN_TOKEN_INCORRECT
        assert await client.update_token("opaque") is None
        await client.disconnect()
        with pytest.raises(ImdError) as refused:
            await client.update_token("opaque")
        assert refused.value.code == Code.IMD_NO_CONNECTION


def test_a_provider_of_the_waiting_client_runs_on_a_thread_of_its_own(stage: Stage) -> None:
    daemon = stage.daemon()
    with SyncClient.build(APP_KEY, app_id="org.example.Chat", socket=daemon.socket) as client:
        with client.set_token_provider(lambda _expiring: made("carol", 0, 3600)):
            client.connect(stage.token("carol"))
            wait_until("the new token", lambda: BROUGHT in client.status.reason)
        ends = client.update_token(made("carol", 0, 7200))
        assert ends is not None
