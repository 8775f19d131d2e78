"""What the page of the package shows."""

import asyncio
import sys

from imd_client import Client, MessageStored, Tail


async def main(token: str) -> None:
    # Init: binds this app to the user's daemon.
    async with Client.build("demo", app_id="org.example.Hello") as client:
        client.add_connection_status_listener(print)  # the status, current value first
        user_id = await client.connect(token, time_limit=30)  # once in the app's life
        async with client.subscribe(Tail()) as events:
            sending = client.send_text(user_id, "开会吗?")
            await sending.accepted()  # on disk: it will be sent, once, whatever dies
            async for event in events:  # keep event.cursor with its effect: exactly once
                if isinstance(event.kind, MessageStored):
                    print(event.kind.message.sender_user_id, event.kind.message.text)
                    break


asyncio.run(main(sys.stdin.readline().strip()))
