"""Written from proto/src/code.rs: `IMD_UPDATE=1 cargo test -p imd-tests --test code_tables`."""

from imd_client._code import CodeRow


class Code(CodeRow):
    """A code as it travels: any number, of which these are in the table."""

    IPC_DISCONNECT = (
        -2,
        "loop",
        "The daemon is gone, or the connection to it is.",
        "Nothing: the library binds again by itself. The error says whether the call had been sent.",
    )
    "The daemon is gone, or the connection to it is."

    UNKNOWN = (
        -1,
        "loop",
        "A cause that is in no table; the text has the server's own number.",
        "Nothing: the loop goes on. Report the text if it stays.",
    )
    "A cause that is in no table; the text has the server's own number."

    SYS_CONVERSATION_NOT_SUPPORT_MESSAGE = (
        20109,
        "call",
        "Apps cannot write into the system conversation: the server side alone does.",
        "Choose a private or a group conversation.",
    )
    "Apps cannot write into the system conversation: the server side alone does."

    NOT_IN_GROUP = (
        22406,
        "call",
        "The server refused the subscription of a group: not a member.",
        "Take the group off the list, or ask to be let in.",
    )
    "The server refused the subscription of a group: not a member."

    RC_HTTP_SEND_FAIL = (
        30004,
        "loop",
        "The nav, which names the servers, cannot be reached or not be trusted.",
        "Nothing: the loop goes on. Check nav in the configuration, and its certificate, if it stays.",
    )
    "The nav, which names the servers, cannot be reached or not be trusted."

    RC_HTTP_REQ_TIMEOUT = (
        30005,
        "loop",
        "The nav does not answer in time.",
        "Nothing: the loop goes on.",
    )
    "The nav does not answer in time."

    RC_NAVI_REQ_FAILED = (
        30007,
        "loop",
        "The nav answers, but not with success.",
        "Nothing: the loop goes on. The text has its HTTP status.",
    )
    "The nav answers, but not with success."

    RC_NODE_NOT_FOUND = (
        30008,
        "loop",
        "The nav's answer names no servers in a form that imd reads.",
        "Nothing: the loop goes on. Mend the answer as docs/nav.md has it.",
    )
    "The nav's answer names no servers in a form that imd reads."

    RC_DOMAIN_NOT_RESOLVE = (
        30009,
        "loop",
        "The server's name has no address.",
        "Nothing: the loop goes on. Check the name in the configuration if it stays.",
    )
    "The server's name has no address."

    RC_SOCKET_NOT_CREATED = (
        30010,
        "loop",
        "No connection to the server's address could be made.",
        "Nothing: the loop goes on.",
    )
    "No connection to the server's address could be made."

    RC_SOCKET_DISCONNECTED = (
        30011,
        "loop",
        "The connection to the server was closed.",
        "Nothing: the loop goes on.",
    )
    "The connection to the server was closed."

    RC_PING_EXCEED_LIMIT = (
        30012,
        "loop",
        "The server did not answer in time: the connection is dead.",
        "Nothing: the loop goes on.",
    )
    "The server did not answer in time: the connection is dead."

    CONNECT_OVER_FREQUENCY = (
        30015,
        "loop",
        "The server says: too busy, or too many connects.",
        "Nothing: the loop goes on.",
    )
    "The server says: too busy, or too many connects."

    RC_MSG_CONTENT_EXCEED_LIMIT = (
        30016,
        "call",
        "The message's content is over 128 KiB.",
        "Send less in one message.",
    )
    "The message's content is over 128 KiB."

    RC_NETWORK_DOWN = (
        30019,
        "loop",
        "There is no network.",
        "Nothing: the loop waits for the network.",
    )
    "There is no network."

    RC_TCP_DISCONNECTED_NO_RMTP = (
        30021,
        "loop",
        "The server closed the connection before it answered the login.",
        "Nothing: the loop goes on.",
    )
    "The server closed the connection before it answered the login."

    RC_CONN_ACK_TIMEOUT = (
        31000,
        "loop",
        "The server did not answer the login in time.",
        "Nothing: the loop goes on.",
    )
    "The server did not answer the login in time."

    RC_CONN_PROTO_VERSION_ERROR = (
        31001,
        "terminal",
        "The server speaks neither MQTT 5 nor MQTT 3.1.1.",
        "Check the server's address.",
    )
    "The server speaks neither MQTT 5 nor MQTT 3.1.1."

    RC_CONN_ID_REJECT = (
        31002,
        "terminal",
        "The server refuses this App Key: the client id, the own inbox or the own channel.",
        "Check the App Key, and the server's access rules for it.",
    )
    "The server refuses this App Key: the client id, the own inbox or the own channel."

    RC_CONN_SERVER_UNAVAILABLE = (
        31003,
        "loop",
        "The server says that it is unavailable.",
        "Nothing: the loop goes on.",
    )
    "The server says that it is unavailable."

    RC_CONN_TOKEN_INCORRECT = (
        31004,
        "terminal",
        "The token is wrong, or belongs to another App Key or user.",
        "Get a new token and connect with it.",
    )
    "The token is wrong, or belongs to another App Key or user."

    RC_CONN_NOT_AUTHRORIZED = (
        31005,
        "terminal",
        "The app is not allowed to connect.",
        "Ask whoever runs the server, or the daemon, to allow it.",
    )
    "The app is not allowed to connect."

    RC_CONN_REDIRECTED = (
        31006,
        "loop",
        "The server names another server.",
        "Nothing: the daemon goes there.",
    )
    "The server names another server."

    RC_CONN_PACKAGE_NAME_INVALID = (
        31007,
        "terminal",
        "The server does not know the app's package name.",
        "Register the app at the server.",
    )
    "The server does not know the app's package name."

    RC_CONN_APP_BLOCKED_OR_DELETED = (
        31008,
        "terminal",
        "The App Key is blocked or deleted.",
        "Tell the user, and ask whoever runs the server.",
    )
    "The App Key is blocked or deleted."

    RC_CONN_USER_BLOCKED = (
        31009,
        "terminal",
        "The user is banned.",
        "Go to the login page and say so.",
    )
    "The user is banned."

    RC_DISCONN_KICK = (
        31010,
        "terminal",
        "The same user logged in on another device of the same class.",
        "Go to the login page and say so; connect again only when the user asks.",
    )
    "The same user logged in on another device of the same class."

    RC_DISCONN_EXCEPTION = (
        31011,
        "terminal",
        "The user was banned while connected.",
        "Go to the login page and say so.",
    )
    "The user was banned while connected."

    RC_CONN_CANCELED = (
        31016,
        "call",
        "Disconnect or logout was called while this connect was waiting.",
        "Nothing, if the user wanted it; else connect again.",
    )
    "Disconnect or logout was called while this connect was waiting."

    RC_CONN_TOKEN_EXPIRE = (
        31020,
        "terminal",
        "The token has expired.",
        "Get a new token and connect with it.",
    )
    "The token has expired."

    RC_CONN_DEVICE_ERROR = (
        31021,
        "terminal",
        "The token belongs to another device.",
        "Get a token for this device.",
    )
    "The token belongs to another device."

    RC_CONN_HOSTNAME_ERROR = (
        31022,
        "terminal",
        "The server does not allow this host.",
        "Ask whoever runs the server.",
    )
    "The server does not allow this host."

    RC_DISCONN_SAME_CLIENT_ON_LINE = (
        31023,
        "terminal",
        "The same user is online on another device, and the server keeps that one.",
        "Go to the login page and say so.",
    )
    "The same user is online on another device, and the server keeps that one."

    RC_LISCENSE_COUNT_OUT_OF_LIMIT = (
        31024,
        "terminal",
        "The server's licence allows no further connection.",
        "Ask whoever runs the server.",
    )
    "The server's licence allows no further connection."

    RC_CONN_WRONG_CLUSTER = (
        31025,
        "terminal",
        "The account belongs to another cluster.",
        "Check the server's address.",
    )
    "The account belongs to another cluster."

    RC_APP_AUTH_NOT_PASS = (
        31026,
        "terminal",
        "The app's own server refused the user.",
        "Ask whoever runs the app's server.",
    )
    "The app's own server refused the user."

    RC_OTP_USED = (
        31027,
        "terminal",
        "The token was good for one use, and has been used.",
        "Get a new token and connect with it.",
    )
    "The token was good for one use, and has been used."

    RC_CONN_PROXY_UNAVAILABLE = (
        31028,
        "terminal",
        "The proxy cannot be reached.",
        "Check the proxy's address.",
    )
    "The proxy cannot be reached."

    RC_ACCOUNT_CANCELLATION = (
        31029,
        "terminal",
        "The account was deleted.",
        "Go to the login page and say so.",
    )
    "The account was deleted."

    RC_LICENSE_EXPIRED = (
        31030,
        "terminal",
        "The server's licence has expired.",
        "Ask whoever runs the server.",
    )
    "The server's licence has expired."

    RC_MSG_DATA_INCOMPLETE = (
        32002,
        "loop",
        "The server sent something that is not MQTT, or not as MQTT wants it.",
        "Nothing: the loop goes on. Check the server's address if it stays.",
    )
    "The server sent something that is not MQTT, or not as MQTT wants it."

    CONNECTION_REFUSED = (
        32061,
        "loop",
        "Nothing listens at the server's address.",
        "Nothing: the loop goes on. Check the server's address if it stays.",
    )
    "Nothing listens at the server's address."

    PROTOCOL_MESSAGE_SAVED_ERROR = (
        33000,
        "call",
        "The message could not be stored: the outbox is full, or the disk.",
        "Send later.",
    )
    "The message could not be stored: the outbox is full, or the disk."

    RC_CLIENT_NOT_INIT = (
        33001,
        "call",
        "Init was not called.",
        "Call Init with the App Key first.",
    )
    "Init was not called."

    BIZ_ERROR_DATABASE_ERROR = (
        33002,
        "terminal",
        "The account's database cannot be opened.",
        "Tell the user; the text says which file and why. Then connect again.",
    )
    "The account's database cannot be opened."

    BIZ_ERROR_INVALID_PARAMETER = (
        33003,
        "call",
        "An argument is wrong; the text says which and why.",
        "Correct the argument.",
    )
    "An argument is wrong; the text says which and why."

    RC_CONNECTION_EXIST = (
        34001,
        "call",
        "This app has called connect already, or another account holds the connection.",
        "Nothing, if it is the app's own: its first connect goes on. Else disconnect first, or use another instance of the daemon.",
    )
    "This app has called connect already, or another account holds the connection."

    RC_CONNECT_TIMEOUT = (
        34006,
        "terminal",
        "No connection within the time limit.",
        "Tell the user, and connect again when asked to.",
    )
    "No connection within the time limit."

    INVALID_PARAMETER_USER_ID = (
        34214,
        "call",
        "The user id is not 1 to 64 bytes without / + # and control characters, or is . or ..",
        "Correct the user id.",
    )
    "The user id is not 1 to 64 bytes without / + # and control characters, or is . or .."

    INVALID_APP_KEY = (
        34257,
        "call",
        "The App Key is not 1 to 64 characters of A-Z a-z 0-9 _ -",
        "Correct the App Key.",
    )
    "The App Key is not 1 to 64 characters of A-Z a-z 0-9 _ -"

    RC_DB_NOT_INIT = (
        34301,
        "call",
        "No account's database is open.",
        "Connect first: the database opens before the connection does.",
    )
    "No account's database is open."

    RC_DB_SQL_ERROR = (
        34303,
        "call",
        "The account's database could not be read or written.",
        "Try again; `imctl doctor` says what is wrong with it.",
    )
    "The account's database could not be read or written."

    RC_DB_DATA_NOT_FOUND = (
        34304,
        "call",
        "There is nothing of that name or id on this machine.",
        "Correct the id, or take it off the screen: it may have been deleted.",
    )
    "There is nothing of that name or id on this machine."

    INVALID_PARAMETER_TOKEN = (
        34407,
        "call",
        "The token is empty, longer than 8 KiB, or has a control character in it.",
        "Correct the token.",
    )
    "The token is empty, longer than 8 KiB, or has a control character in it."

    IMD_DEADLINE_EXCEEDED = (
        90001,
        "call",
        "The daemon is alive but did not answer in time.",
        "Try again; `imctl doctor` says what holds it up.",
    )
    "The daemon is alive but did not answer in time."

    IMD_NO_SERVER = (
        90002,
        "call",
        "No server is configured for this App Key.",
        "Write the file that the text names.",
    )
    "No server is configured for this App Key."

    IMD_VERSION_SKEW = (
        90003,
        "call",
        "The app's library and the daemon share no protocol version, or the daemon does not know the call.",
        "Bring both to versions that overlap.",
    )
    "The app's library and the daemon share no protocol version, or the daemon does not know the call."

    IMD_TOO_MANY = (
        90004,
        "call",
        "A limit of the daemon is reached; the text says which.",
        "Try again later.",
    )
    "A limit of the daemon is reached; the text says which."

    IMD_STOPPING = (
        90005,
        "call",
        "The daemon is stopping.",
        "Nothing: the library binds to the next one.",
    )
    "The daemon is stopping."

    IMD_REQUEST_TOO_LARGE = (
        90006,
        "call",
        "The request is larger than the daemon takes.",
        "Send less in one request.",
    )
    "The request is larger than the daemon takes."

    IMD_NOT_BOUND = (
        90007,
        "call",
        "The call names no binding, or one that has ended.",
        "Bind first, and name the binding in the metadata imd-binding.",
    )
    "The call names no binding, or one that has ended."

    IMD_INTERNAL = (
        90008,
        "call",
        "A fault in imd itself.",
        "Report it, with the text and `imctl doctor`.",
    )
    "A fault in imd itself."

    IMD_REFUSED_PEER = (
        90009,
        "call",
        "The socket belongs to a process of another user.",
        "Check who made the socket; `imctl doctor` says more.",
    )
    "The socket belongs to a process of another user."

    IMD_INVALID_SOCKET_PATH = (
        90010,
        "call",
        "The socket's path cannot be used; the text says why.",
        "Choose another path.",
    )
    "The socket's path cannot be used; the text says why."

    IMD_CERTIFICATE = (
        90011,
        "loop",
        "The server's certificate is not to be trusted; the text says why.",
        "Mend what the text names; it is tried again by itself.",
    )
    "The server's certificate is not to be trusted; the text says why."

    IMD_TLS = (
        90012,
        "loop",
        "Encryption with the server fails; the text says why.",
        "Mend what the text names; it is tried again by itself.",
    )
    "Encryption with the server fails; the text says why."

    IMD_NO_CONNECTION = (
        90014,
        "call",
        "There is no connection whose token could be changed, or its user is not known yet.",
        "Connect with the new token.",
    )
    "There is no connection whose token could be changed, or its user is not known yet."
