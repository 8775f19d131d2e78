"""Connect once, and imd, the user's messaging daemon, does the rest.

`Client.build` is Init, `Client.connect` asks for the one connection that all of a user's apps share. From the first
success on, the daemon keeps it up: through lost networks, restarts of the server, sleep and wake-up. What it is
doing shows in the status; an error is told only when the daemon has given up for this app.

    async with Client.build("my-app-key", app_id="org.example.Chat") as client:
        user_id = await client.connect(token)
        await client.send_text("bob", "hello").accepted()

When the daemon dies the status reads DAEMON_LOST (-2), once, and the library binds again by itself: a pending connect,
subscriptions and messages that were not answered go on at the next daemon. Other calls in flight, and those made
while there is no daemon, raise `IpcDisconnected`; the error's `sent` tells whether they may have been carried out.

`imd_client.sync` has the same names for code without asyncio.
"""

from imd_client._admin import App, ConnectPhase, DaemonRun, Finding, StatusChange, Timeline, Verdict, Version
from imd_client._board import StatusChanges, StatusListener
from imd_client._client import Building, Client
from imd_client._code import Kind
from imd_client._code_table import Code
from imd_client._connect import ConnectCallback, Connecting, DatabaseOpenStatus
from imd_client._errors import DeadlineExceeded, ImdError, IpcDisconnected, Sent
from imd_client._event import (
    Cursor,
    Deleted,
    Event,
    EventKind,
    Gap,
    GapKind,
    MessageState,
    MessageStored,
    Named,
    OfflineSyncCompleted,
    Start,
    Started,
    Tail,
    Unlisted,
    Unreadable,
)
from imd_client._feed import Events
from imd_client._message import (
    Content,
    Conversation,
    ConversationKey,
    ConversationPage,
    ConversationType,
    Direction,
    Group,
    Message,
    MessagePage,
    Outbox,
    SendFailure,
    SentStatus,
)
from imd_client._renewal import TokenExpiring, TokenProvider
from imd_client._sending import Sending
from imd_client._status import ConnectionStatus, Loss, Network, NextRetry, OfflineSync, Status

__version__ = "0.1.0"

__all__ = [
    "App",
    "Building",
    "Client",
    "Code",
    "ConnectCallback",
    "ConnectPhase",
    "Connecting",
    "ConnectionStatus",
    "Content",
    "Conversation",
    "ConversationKey",
    "ConversationPage",
    "ConversationType",
    "Cursor",
    "DaemonRun",
    "DatabaseOpenStatus",
    "DeadlineExceeded",
    "Deleted",
    "Direction",
    "Event",
    "EventKind",
    "Events",
    "Finding",
    "Gap",
    "GapKind",
    "Group",
    "ImdError",
    "IpcDisconnected",
    "Kind",
    "Loss",
    "Message",
    "MessagePage",
    "MessageState",
    "MessageStored",
    "Named",
    "Network",
    "NextRetry",
    "OfflineSync",
    "OfflineSyncCompleted",
    "Outbox",
    "SendFailure",
    "Sending",
    "Sent",
    "SentStatus",
    "Start",
    "Started",
    "Status",
    "StatusChange",
    "StatusChanges",
    "StatusListener",
    "Tail",
    "Timeline",
    "TokenExpiring",
    "TokenProvider",
    "Unlisted",
    "Unreadable",
    "Verdict",
    "Version",
]
