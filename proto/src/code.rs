//! The one table of codes: what a number means, whether the loop goes on, and what the app should do.
//!
//! Numbers up to 89999 are RongCloud's own (its Android page where it lists the code, else its Rust or
//! JavaScript SDK); 90000 to 90999 are imd's. A number that is not in the table passes through unharmed.

use std::fmt;

/// A code as it travels: any number, of which some are in the table.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Code(pub i32);

/// What happens after a code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It heals by itself: the loop goes on, and the code shows in the status alone.
    Loop,
    /// It ends the connection: the loop stops until an app connects again.
    Terminal,
    /// It ends the one call it answers, and touches nothing else.
    Call,
}

impl Kind {
    /// The word the README's table uses.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Loop => "loop",
            Self::Terminal => "terminal",
            Self::Call => "call",
        }
    }
}

/// The gRPC status code a code travels under, for clients that know no table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carrier {
    Unknown,
    InvalidArgument,
    DeadlineExceeded,
    NotFound,
    AlreadyExists,
    PermissionDenied,
    ResourceExhausted,
    FailedPrecondition,
    Aborted,
    Unimplemented,
    Internal,
    Unavailable,
    Unauthenticated,
}

/// One row of the table.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Row {
    pub code: Code,
    pub name: &'static str,
    pub kind: Kind,
    pub carrier: Carrier,
    /// What it means.
    pub meaning: &'static str,
    /// What the app should do.
    pub action: &'static str,
}

macro_rules! table {
    ($($number:literal $name:ident $kind:ident $carrier:ident $meaning:literal $action:literal;)*) => {
        impl Code {
            $(
                #[doc = $meaning]
                pub const $name: Self = Self($number);
            )*
        }

        /// Every row, by ascending number.
        pub const TABLE: &[Row] = &[$(
            Row {
                code: Code::$name,
                name: stringify!($name),
                kind: Kind::$kind,
                carrier: Carrier::$carrier,
                meaning: $meaning,
                action: $action,
            },
        )*];
    };
}

table! {
    -2 IPC_DISCONNECT Loop Unavailable
        "The daemon is gone, or the connection to it is."
        "Nothing: the library binds again by itself. The error says whether the call had been sent.";
    -1 UNKNOWN Loop Unknown
        "A cause that is in no table; the text has the server's own number."
        "Nothing: the loop goes on. Report the text if it stays.";
    20109 SYS_CONVERSATION_NOT_SUPPORT_MESSAGE Call InvalidArgument
        "Apps cannot write into the system conversation: the server side alone does."
        "Choose a private or a group conversation.";
    22406 NOT_IN_GROUP Call PermissionDenied
        "The server refused the subscription of a group: not a member."
        "Take the group off the list, or ask to be let in.";
    30004 RC_HTTP_SEND_FAIL Loop Unavailable
        "The nav, which names the servers, cannot be reached or not be trusted."
        "Nothing: the loop goes on. Check nav in the configuration, and its certificate, if it stays.";
    30005 RC_HTTP_REQ_TIMEOUT Loop Unavailable
        "The nav does not answer in time."
        "Nothing: the loop goes on.";
    30007 RC_NAVI_REQ_FAILED Loop Unavailable
        "The nav answers, but not with success."
        "Nothing: the loop goes on. The text has its HTTP status.";
    30008 RC_NODE_NOT_FOUND Loop Unavailable
        "The nav's answer names no servers in a form that imd reads."
        "Nothing: the loop goes on. Mend the answer as docs/nav.md has it.";
    30009 RC_DOMAIN_NOT_RESOLVE Loop Unavailable
        "The server's name has no address."
        "Nothing: the loop goes on. Check the name in the configuration if it stays.";
    30010 RC_SOCKET_NOT_CREATED Loop Unavailable
        "No connection to the server's address could be made."
        "Nothing: the loop goes on.";
    30011 RC_SOCKET_DISCONNECTED Loop Unavailable
        "The connection to the server was closed."
        "Nothing: the loop goes on.";
    30012 RC_PING_EXCEED_LIMIT Loop Unavailable
        "The server did not answer in time: the connection is dead."
        "Nothing: the loop goes on.";
    30015 CONNECT_OVER_FREQUENCY Loop ResourceExhausted
        "The server says: too busy, or too many connects."
        "Nothing: the loop goes on.";
    30016 RC_MSG_CONTENT_EXCEED_LIMIT Call InvalidArgument
        "The message's content is over 128 KiB."
        "Send less in one message.";
    30019 RC_NETWORK_DOWN Loop Unavailable
        "There is no network."
        "Nothing: the loop waits for the network.";
    30021 RC_TCP_DISCONNECTED_NO_RMTP Loop Unavailable
        "The server closed the connection before it answered the login."
        "Nothing: the loop goes on.";
    31000 RC_CONN_ACK_TIMEOUT Loop Unavailable
        "The server did not answer the login in time."
        "Nothing: the loop goes on.";
    31001 RC_CONN_PROTO_VERSION_ERROR Terminal FailedPrecondition
        "The server speaks neither MQTT 5 nor MQTT 3.1.1."
        "Check the server's address.";
    31002 RC_CONN_ID_REJECT Terminal PermissionDenied
        "The server refuses this App Key: the client id, the own inbox or the own channel."
        "Check the App Key, and the server's access rules for it.";
    31003 RC_CONN_SERVER_UNAVAILABLE Loop Unavailable
        "The server says that it is unavailable."
        "Nothing: the loop goes on.";
    31004 RC_CONN_TOKEN_INCORRECT Terminal Unauthenticated
        "The token is wrong, or belongs to another App Key or user."
        "Get a new token and connect with it.";
    31005 RC_CONN_NOT_AUTHRORIZED Terminal PermissionDenied
        "The app is not allowed to connect."
        "Ask whoever runs the server, or the daemon, to allow it.";
    31006 RC_CONN_REDIRECTED Loop Unavailable
        "The server names another server."
        "Nothing: the daemon goes there.";
    31007 RC_CONN_PACKAGE_NAME_INVALID Terminal PermissionDenied
        "The server does not know the app's package name."
        "Register the app at the server.";
    31008 RC_CONN_APP_BLOCKED_OR_DELETED Terminal PermissionDenied
        "The App Key is blocked or deleted."
        "Tell the user, and ask whoever runs the server.";
    31009 RC_CONN_USER_BLOCKED Terminal PermissionDenied
        "The user is banned."
        "Go to the login page and say so.";
    31010 RC_DISCONN_KICK Terminal Aborted
        "The same user logged in on another device of the same class."
        "Go to the login page and say so; connect again only when the user asks.";
    31011 RC_DISCONN_EXCEPTION Terminal PermissionDenied
        "The user was banned while connected."
        "Go to the login page and say so.";
    31016 RC_CONN_CANCELED Call Aborted
        "Disconnect or logout was called while this connect was waiting."
        "Nothing, if the user wanted it; else connect again.";
    31020 RC_CONN_TOKEN_EXPIRE Terminal Unauthenticated
        "The token has expired."
        "Get a new token and connect with it.";
    31021 RC_CONN_DEVICE_ERROR Terminal PermissionDenied
        "The token belongs to another device."
        "Get a token for this device.";
    31022 RC_CONN_HOSTNAME_ERROR Terminal PermissionDenied
        "The server does not allow this host."
        "Ask whoever runs the server.";
    31023 RC_DISCONN_SAME_CLIENT_ON_LINE Terminal Aborted
        "The same user is online on another device, and the server keeps that one."
        "Go to the login page and say so.";
    31024 RC_LISCENSE_COUNT_OUT_OF_LIMIT Terminal ResourceExhausted
        "The server's licence allows no further connection."
        "Ask whoever runs the server.";
    31025 RC_CONN_WRONG_CLUSTER Terminal FailedPrecondition
        "The account belongs to another cluster."
        "Check the server's address.";
    31026 RC_APP_AUTH_NOT_PASS Terminal PermissionDenied
        "The app's own server refused the user."
        "Ask whoever runs the app's server.";
    31027 RC_OTP_USED Terminal Unauthenticated
        "The token was good for one use, and has been used."
        "Get a new token and connect with it.";
    31028 RC_CONN_PROXY_UNAVAILABLE Terminal Unavailable
        "The proxy cannot be reached."
        "Check the proxy's address.";
    31029 RC_ACCOUNT_CANCELLATION Terminal PermissionDenied
        "The account was deleted."
        "Go to the login page and say so.";
    31030 RC_LICENSE_EXPIRED Terminal ResourceExhausted
        "The server's licence has expired."
        "Ask whoever runs the server.";
    32002 RC_MSG_DATA_INCOMPLETE Loop Unavailable
        "The server sent something that is not MQTT, or not as MQTT wants it."
        "Nothing: the loop goes on. Check the server's address if it stays.";
    32061 CONNECTION_REFUSED Loop Unavailable
        "Nothing listens at the server's address."
        "Nothing: the loop goes on. Check the server's address if it stays.";
    33000 PROTOCOL_MESSAGE_SAVED_ERROR Call ResourceExhausted
        "The message could not be stored: the outbox is full, or the disk."
        "Send later.";
    33001 RC_CLIENT_NOT_INIT Call FailedPrecondition
        "Init was not called."
        "Call Init with the App Key first.";
    33002 BIZ_ERROR_DATABASE_ERROR Terminal Internal
        "The account's database cannot be opened."
        "Tell the user; the text says which file and why. Then connect again.";
    33003 BIZ_ERROR_INVALID_PARAMETER Call InvalidArgument
        "An argument is wrong; the text says which and why."
        "Correct the argument.";
    34001 RC_CONNECTION_EXIST Call AlreadyExists
        "This app has called connect already, or another account holds the connection."
        "Nothing, if it is the app's own: its first connect goes on. Else disconnect first, or use another instance of the daemon.";
    34006 RC_CONNECT_TIMEOUT Terminal DeadlineExceeded
        "No connection within the time limit."
        "Tell the user, and connect again when asked to.";
    34214 INVALID_PARAMETER_USER_ID Call InvalidArgument
        "The user id is not 1 to 64 bytes without / + # and control characters, or is . or .."
        "Correct the user id.";
    34257 INVALID_APP_KEY Call InvalidArgument
        "The App Key is not 1 to 64 characters of A-Z a-z 0-9 _ -"
        "Correct the App Key.";
    34301 RC_DB_NOT_INIT Call FailedPrecondition
        "No account's database is open."
        "Connect first: the database opens before the connection does.";
    34303 RC_DB_SQL_ERROR Call Internal
        "The account's database could not be read or written."
        "Try again; `imctl doctor` says what is wrong with it.";
    34304 RC_DB_DATA_NOT_FOUND Call NotFound
        "There is nothing of that name or id on this machine."
        "Correct the id, or take it off the screen: it may have been deleted.";
    34407 INVALID_PARAMETER_TOKEN Call InvalidArgument
        "The token is empty, longer than 8 KiB, or has a control character in it."
        "Correct the token.";
    90001 IMD_DEADLINE_EXCEEDED Call DeadlineExceeded
        "The daemon is alive but did not answer in time."
        "Try again; `imctl doctor` says what holds it up.";
    90002 IMD_NO_SERVER Call FailedPrecondition
        "No server is configured for this App Key."
        "Write the file that the text names.";
    90003 IMD_VERSION_SKEW Call Unimplemented
        "The app's library and the daemon share no protocol version, or the daemon does not know the call."
        "Bring both to versions that overlap.";
    90004 IMD_TOO_MANY Call ResourceExhausted
        "A limit of the daemon is reached; the text says which."
        "Try again later.";
    90005 IMD_STOPPING Call Unavailable
        "The daemon is stopping."
        "Nothing: the library binds to the next one.";
    90006 IMD_REQUEST_TOO_LARGE Call InvalidArgument
        "The request is larger than the daemon takes."
        "Send less in one request.";
    90007 IMD_NOT_BOUND Call FailedPrecondition
        "The call names no binding, or one that has ended."
        "Bind first, and name the binding in the metadata imd-binding.";
    90008 IMD_INTERNAL Call Internal
        "A fault in imd itself."
        "Report it, with the text and `imctl doctor`.";
    90009 IMD_REFUSED_PEER Call PermissionDenied
        "The socket belongs to a process of another user."
        "Check who made the socket; `imctl doctor` says more.";
    90010 IMD_INVALID_SOCKET_PATH Call InvalidArgument
        "The socket's path cannot be used; the text says why."
        "Choose another path.";
    90011 IMD_CERTIFICATE Loop Unavailable
        "The server's certificate is not to be trusted; the text says why."
        "Mend what the text names; it is tried again by itself.";
    90012 IMD_TLS Loop Unavailable
        "Encryption with the server fails; the text says why."
        "Mend what the text names; it is tried again by itself.";
    90014 IMD_NO_CONNECTION Call FailedPrecondition
        "There is no connection whose token could be changed, or its user is not known yet."
        "Connect with the new token.";
}

impl Code {
    /// The code's row, if it is in the table.
    #[must_use]
    pub fn row(self) -> Option<&'static Row> {
        TABLE
            .binary_search_by_key(&self, |row| row.code)
            .ok()
            .and_then(|at| TABLE.get(at))
    }

    /// The code's name; `UNLISTED` for a number that is not in the table.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.row().map_or("UNLISTED", |row| row.name)
    }

    /// What the code means.
    #[must_use]
    pub fn meaning(self) -> &'static str {
        self.row()
            .map_or("The server's own number, unknown to imd.", |row| row.meaning)
    }

    /// What the app should do.
    #[must_use]
    pub fn action(self) -> &'static str {
        self.row()
            .map_or("Ask whoever runs the server what it means.", |row| row.action)
    }

    /// Whether the code ends the connection until an app connects again. A number that is not in the
    /// table does not.
    #[must_use]
    pub fn is_terminal(self) -> bool {
        self.row().is_some_and(|row| row.kind == Kind::Terminal)
    }

    /// The row with this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        TABLE.iter().find(|row| row.name == name).map(|row| row.code)
    }
}

impl fmt::Debug for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.name(), self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_ascends_so_that_every_row_is_found() {
        assert!(TABLE.is_sorted_by(|a, b| a.code < b.code));
        for row in TABLE {
            assert_eq!(row.code.row().map(|found| found.name), Some(row.name));
            assert_eq!(Code::from_name(row.name), Some(row.code));
        }
    }

    #[test]
    fn every_code_of_the_rongcloud_connect_page_is_in_the_table() {
        for (number, name) in [
            (-2, "IPC_DISCONNECT"),
            (31002, "RC_CONN_ID_REJECT"),
            (31004, "RC_CONN_TOKEN_INCORRECT"),
            (31005, "RC_CONN_NOT_AUTHRORIZED"),
            (31008, "RC_CONN_APP_BLOCKED_OR_DELETED"),
            (31009, "RC_CONN_USER_BLOCKED"),
            (31020, "RC_CONN_TOKEN_EXPIRE"),
            (31028, "RC_CONN_PROXY_UNAVAILABLE"),
            (33001, "RC_CLIENT_NOT_INIT"),
            (34001, "RC_CONNECTION_EXIST"),
            (34006, "RC_CONNECT_TIMEOUT"),
            (-1, "UNKNOWN"),
        ] {
            assert_eq!(Code(number).name(), name);
        }
    }

    #[test]
    fn a_number_outside_the_table_keeps_its_number_and_is_not_terminal() {
        let code = Code(31_099);
        assert_eq!(code.to_string(), "UNLISTED (31099)");
        assert!(!code.is_terminal());
    }
}
