-- The account database as the newest migration leaves it. Documentation: what makes it is migrations/, and a
-- test holds the two together. Times are milliseconds since 1970. A row id is never used twice (AUTOINCREMENT)
-- where anybody may remember one.

-- What the database is: app_key and user_id (whose it is), epoch (random, made with the file: an offset counts
-- within one epoch only), created (a time, as text), unreadable_dropped (how many unreadable payloads were
-- dropped for room, as text; absent: none).
CREATE TABLE meta (
    key   TEXT NOT NULL PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- The groups whose messages are wanted. The id is a topic level, so what a topic gives a meaning to is kept out.
CREATE TABLE groups (
    group_id TEXT NOT NULL PRIMARY KEY
        CHECK (octet_length(group_id) BETWEEN 1 AND 64 AND group_id NOT GLOB '*[/+#]*'),
    joined   INTEGER NOT NULL DEFAULT 0,
    -- 0, or why the server refused the subscription (22406).
    code     INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;

-- The conversation list. A row outlives being taken off the list, because send_seq must never go back.
CREATE TABLE conversations (
    conversation_id INTEGER PRIMARY KEY AUTOINCREMENT,
    -- 1 private, 3 group, 6 system.
    kind            INTEGER NOT NULL CHECK (kind IN (1, 3, 6)),
    -- Private: the peer. Group: the group. System: 'system'.
    target_id       TEXT    NOT NULL,
    listed          INTEGER NOT NULL DEFAULT 1,
    pinned          INTEGER NOT NULL DEFAULT 0,
    muted           INTEGER NOT NULL DEFAULT 0,
    draft           TEXT    NOT NULL DEFAULT '',
    -- How many of its messages have unread = 1.
    unread          INTEGER NOT NULL DEFAULT 0,
    -- The id of its newest message; 0: none.
    last_message    INTEGER NOT NULL DEFAULT 0,
    sort_time       INTEGER NOT NULL DEFAULT 0,
    -- The seq of the last message accepted for sending.
    send_seq        INTEGER NOT NULL DEFAULT 0,
    UNIQUE (kind, target_id)
) STRICT;
CREATE INDEX conversations_order ON conversations (listed, pinned DESC, sort_time DESC, conversation_id DESC);

-- Messages, in the order of arrival or acceptance.
CREATE TABLE messages (
    message_id      INTEGER PRIMARY KEY AUTOINCREMENT,
    conversation_id INTEGER NOT NULL REFERENCES conversations,
    -- The sender's id for the message.
    uid             TEXT    NOT NULL,
    sender          TEXT    NOT NULL,
    sent_by_me      INTEGER NOT NULL,
    object_name     TEXT    NOT NULL,
    content         BLOB    NOT NULL,
    -- 1 saved, 3 saved and counted.
    flags           INTEGER NOT NULL,
    -- The sender's clock, and ours.
    sent_time       INTEGER NOT NULL,
    received_time   INTEGER NOT NULL,
    -- 10 SENDING, 20 FAILED, 30 SENT, 40 RECEIVED; 0 for a received message.
    sent_status     INTEGER NOT NULL DEFAULT 0,
    -- Why it FAILED.
    code            INTEGER NOT NULL DEFAULT 0,
    code_text       TEXT    NOT NULL DEFAULT '',
    -- The server had nobody to give it to.
    no_receiver     INTEGER NOT NULL DEFAULT 0,
    unread          INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX messages_page ON messages (conversation_id, message_id);
CREATE INDEX messages_unread ON messages (conversation_id, message_id) WHERE unread = 1;
CREATE INDEX messages_uid ON messages (uid);

-- Every (sender, uid) that has been stored, our own too. It outlives the message, because the server or the
-- sender may bring it again. `expires`: when neither can any more.
CREATE TABLE seen (
    sender  TEXT    NOT NULL,
    uid     TEXT    NOT NULL,
    expires INTEGER NOT NULL,
    PRIMARY KEY (sender, uid)
) STRICT, WITHOUT ROWID;
CREATE INDEX seen_expires ON seen (expires);

-- Messages that are not at their end: to be sent (10), failed (20), or sent and not yet received by the peer's
-- daemon (30, private messages only).
CREATE TABLE outbox (
    -- The order of sending. A retry gets another one, at the end.
    position   INTEGER PRIMARY KEY AUTOINCREMENT,
    message_id INTEGER NOT NULL UNIQUE REFERENCES messages ON DELETE CASCADE,
    -- Its number in the conversation, the same on every resend.
    seq        INTEGER NOT NULL,
    bytes      INTEGER NOT NULL,
    state      INTEGER NOT NULL CHECK (state IN (10, 20, 30)),
    -- In state 30: how often it has been given to the server, and when last and first.
    tries      INTEGER NOT NULL DEFAULT 0,
    last_try   INTEGER NOT NULL DEFAULT 0,
    taken      INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX outbox_state ON outbox (state, position);

-- One row: what of the outbox waits to be sent (10). Counting 100,000 rows for each message would be slow.
CREATE TABLE outbox_size (
    row      INTEGER PRIMARY KEY CHECK (row = 1),
    messages INTEGER NOT NULL,
    bytes    INTEGER NOT NULL
) STRICT;
CREATE TRIGGER outbox_inserted AFTER INSERT ON outbox WHEN NEW.state = 10 BEGIN
    UPDATE outbox_size SET messages = messages + 1, bytes = bytes + NEW.bytes;
END;
CREATE TRIGGER outbox_deleted AFTER DELETE ON outbox WHEN OLD.state = 10 BEGIN
    UPDATE outbox_size SET messages = messages - 1, bytes = bytes - OLD.bytes;
END;
CREATE TRIGGER outbox_updated AFTER UPDATE OF state, bytes ON outbox BEGIN
    UPDATE outbox_size SET
        messages = messages + (NEW.state = 10) - (OLD.state = 10),
        bytes = bytes + (NEW.state = 10) * NEW.bytes - (OLD.state = 10) * OLD.bytes;
END;

-- Senders to be told that their message has been committed here.
CREATE TABLE receipts_due (
    receipt_id INTEGER PRIMARY KEY AUTOINCREMENT,
    peer       TEXT NOT NULL,
    uid        TEXT NOT NULL,
    UNIQUE (peer, uid)
) STRICT;

-- The highest seq of each sender in a group. An installation (origin) counts for itself.
CREATE TABLE group_senders (
    group_id TEXT    NOT NULL,
    sender   TEXT    NOT NULL,
    origin   TEXT    NOT NULL,
    last_seq INTEGER NOT NULL,
    PRIMARY KEY (group_id, sender, origin)
) STRICT, WITHOUT ROWID;

-- The event log: references, not bodies.
--   kind                      message_id     detail
--   1 message stored          the message    its sent_status
--   2 state changed           the message    its sent_status
--   3 gap                     0              JSON: kind, and what it is about
--   4 offline sync completed  0              JSON: complete
--   5 unreadable payload      0              JSON: topic, reason, bytes
CREATE TABLE events (
    event_offset INTEGER PRIMARY KEY AUTOINCREMENT,
    time         INTEGER NOT NULL,
    kind         INTEGER NOT NULL,
    message_id   INTEGER NOT NULL DEFAULT 0,
    detail       TEXT    NOT NULL DEFAULT ''
) STRICT;

-- How far an app has read the log, under a name it chose.
CREATE TABLE cursors (
    app_id       TEXT    NOT NULL,
    name         TEXT    NOT NULL,
    event_offset INTEGER NOT NULL,
    PRIMARY KEY (app_id, name)
) STRICT, WITHOUT ROWID;

-- Payloads that could not be read: the newest 1,000, and at most 16 MiB.
CREATE TABLE unreadable (
    unreadable_id INTEGER PRIMARY KEY AUTOINCREMENT,
    time          INTEGER NOT NULL,
    topic         TEXT    NOT NULL,
    reason        TEXT    NOT NULL,
    payload       BLOB    NOT NULL
) STRICT;

-- Messages that are not yet in the search index.
CREATE TABLE search_queue (
    message_id INTEGER PRIMARY KEY
) STRICT;
-- The index over the messages' words; its row id is the message's. It holds no text of its own. `conversation`
-- is the conversation's number: a search in one conversation would else look at the matches in all of them.
CREATE VIRTUAL TABLE search USING fts5 (
    tokens, conversation, content = '', contentless_delete = 1, tokenize = 'unicode61 remove_diacritics 2'
);
