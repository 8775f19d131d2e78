"""The daemon's calls: where they are, what they take and give."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

from google.protobuf.message import Message

from imd_client._generated import (
    admin_pb2,
    conversation_pb2,
    event_pb2,
    group_pb2,
    message_pb2,
    session_pb2,
)

Req = TypeVar("Req", bound=Message)
Res = TypeVar("Res", bound=Message)


@dataclass(frozen=True)
class Method(Generic[Req, Res]):
    """A call of the daemon."""

    path: str
    request: type[Req]
    response: type[Res]

    @property
    def name(self) -> str:
        """Its name, for people."""
        return self.path.rpartition("/")[2]


BIND = Method("/imd.v1.SessionService/Bind", session_pb2.BindRequest, session_pb2.BindResponse)
INIT = Method("/imd.v1.SessionService/Init", session_pb2.InitRequest, session_pb2.InitResponse)
CONNECT = Method("/imd.v1.SessionService/Connect", session_pb2.ConnectRequest, session_pb2.ConnectResponse)
WATCH_TOKEN_EXPIRING = Method(
    "/imd.v1.SessionService/WatchTokenExpiring",
    session_pb2.WatchTokenExpiringRequest,
    session_pb2.WatchTokenExpiringResponse,
)
UPDATE_TOKEN = Method(
    "/imd.v1.SessionService/UpdateToken",
    session_pb2.UpdateTokenRequest,
    session_pb2.UpdateTokenResponse,
)
DISCONNECT = Method("/imd.v1.SessionService/Disconnect", session_pb2.DisconnectRequest, session_pb2.DisconnectResponse)
LOGOUT = Method("/imd.v1.SessionService/Logout", session_pb2.LogoutRequest, session_pb2.LogoutResponse)
GET_STATUS = Method("/imd.v1.SessionService/GetStatus", session_pb2.GetStatusRequest, session_pb2.GetStatusResponse)
SUBSCRIBE = Method("/imd.v1.EventService/Subscribe", event_pb2.SubscribeRequest, event_pb2.SubscribeResponse)
ACK_EVENTS = Method("/imd.v1.EventService/AckEvents", event_pb2.AckEventsRequest, event_pb2.AckEventsResponse)
SEND_MESSAGE = Method(
    "/imd.v1.MessageService/SendMessage",
    message_pb2.SendMessageRequest,
    message_pb2.SendMessageResponse,
)
SEND_MESSAGES = Method(
    "/imd.v1.MessageService/SendMessages",
    message_pb2.SendMessagesRequest,
    message_pb2.SendMessagesResponse,
)
RETRY_MESSAGE = Method(
    "/imd.v1.MessageService/RetryMessage",
    message_pb2.RetryMessageRequest,
    message_pb2.RetryMessageResponse,
)
GET_MESSAGE = Method("/imd.v1.MessageService/GetMessage", message_pb2.GetMessageRequest, message_pb2.GetMessageResponse)
LIST_MESSAGES = Method(
    "/imd.v1.MessageService/ListMessages",
    message_pb2.ListMessagesRequest,
    message_pb2.ListMessagesResponse,
)
SEARCH_MESSAGES = Method(
    "/imd.v1.MessageService/SearchMessages",
    message_pb2.SearchMessagesRequest,
    message_pb2.SearchMessagesResponse,
)
DELETE_MESSAGES = Method(
    "/imd.v1.MessageService/DeleteMessages",
    message_pb2.DeleteMessagesRequest,
    message_pb2.DeleteMessagesResponse,
)
LIST_OUTBOX = Method("/imd.v1.MessageService/ListOutbox", message_pb2.ListOutboxRequest, message_pb2.ListOutboxResponse)
LIST_CONVERSATIONS = Method(
    "/imd.v1.ConversationService/ListConversations",
    conversation_pb2.ListConversationsRequest,
    conversation_pb2.ListConversationsResponse,
)
GET_CONVERSATION = Method(
    "/imd.v1.ConversationService/GetConversation",
    conversation_pb2.GetConversationRequest,
    conversation_pb2.GetConversationResponse,
)
UPDATE_CONVERSATION = Method(
    "/imd.v1.ConversationService/UpdateConversation",
    conversation_pb2.UpdateConversationRequest,
    conversation_pb2.UpdateConversationResponse,
)
MARK_READ = Method(
    "/imd.v1.ConversationService/MarkRead",
    conversation_pb2.MarkReadRequest,
    conversation_pb2.MarkReadResponse,
)
GET_UNREAD_COUNT = Method(
    "/imd.v1.ConversationService/GetUnreadCount",
    conversation_pb2.GetUnreadCountRequest,
    conversation_pb2.GetUnreadCountResponse,
)
DELETE_CONVERSATION = Method(
    "/imd.v1.ConversationService/DeleteConversation",
    conversation_pb2.DeleteConversationRequest,
    conversation_pb2.DeleteConversationResponse,
)
JOIN_GROUP = Method("/imd.v1.GroupService/JoinGroup", group_pb2.JoinGroupRequest, group_pb2.JoinGroupResponse)
QUIT_GROUP = Method("/imd.v1.GroupService/QuitGroup", group_pb2.QuitGroupRequest, group_pb2.QuitGroupResponse)
LIST_GROUPS = Method("/imd.v1.GroupService/ListGroups", group_pb2.ListGroupsRequest, group_pb2.ListGroupsResponse)
GET_VERSION = Method("/imd.v1.AdminService/GetVersion", admin_pb2.GetVersionRequest, admin_pb2.GetVersionResponse)
SHUTDOWN = Method("/imd.v1.AdminService/Shutdown", admin_pb2.ShutdownRequest, admin_pb2.ShutdownResponse)
LIST_APPS = Method("/imd.v1.AdminService/ListApps", admin_pb2.ListAppsRequest, admin_pb2.ListAppsResponse)
LIST_STATUS_CHANGES = Method(
    "/imd.v1.AdminService/ListStatusChanges",
    admin_pb2.ListStatusChangesRequest,
    admin_pb2.ListStatusChangesResponse,
)
GET_METRICS = Method("/imd.v1.AdminService/GetMetrics", admin_pb2.GetMetricsRequest, admin_pb2.GetMetricsResponse)
DIAGNOSE = Method("/imd.v1.AdminService/Diagnose", admin_pb2.DiagnoseRequest, admin_pb2.DiagnoseResponse)
