ALTER TABLE groups ADD COLUMN joined INTEGER NOT NULL DEFAULT 0;
ALTER TABLE groups ADD COLUMN code INTEGER NOT NULL DEFAULT 0;

CREATE TABLE conversations (
    conversation_id INTEGER PRIMARY KEY AUTOINCREMENT,
    kind            INTEGER NOT NULL CHECK (kind IN (1, 3, 6)),
    target_id       TEXT    NOT NULL,
    listed          INTEGER NOT NULL DEFAULT 1,
    pinned          INTEGER NOT NULL DEFAULT 0,
    muted           INTEGER NOT NULL DEFAULT 0,
    draft           TEXT    NOT NULL DEFAULT '',
    unread          INTEGER NOT NULL DEFAULT 0,
    last_message    INTEGER NOT NULL DEFAULT 0,
    sort_time       INTEGER NOT NULL DEFAULT 0,
    send_seq        INTEGER NOT NULL DEFAULT 0,
    UNIQUE (kind, target_id)
) STRICT;
CREATE INDEX conversations_order ON conversations (listed, pinned DESC, sort_time DESC, conversation_id DESC);

CREATE TABLE messages (
    message_id      INTEGER PRIMARY KEY AUTOINCREMENT,
    conversation_id INTEGER NOT NULL REFERENCES conversations,
    uid             TEXT    NOT NULL,
    sender          TEXT    NOT NULL,
    sent_by_me      INTEGER NOT NULL,
    object_name     TEXT    NOT NULL,
    content         BLOB    NOT NULL,
    flags           INTEGER NOT NULL,
    sent_time       INTEGER NOT NULL,
    received_time   INTEGER NOT NULL,
    sent_status     INTEGER NOT NULL DEFAULT 0,
    code            INTEGER NOT NULL DEFAULT 0,
    code_text       TEXT    NOT NULL DEFAULT '',
    no_receiver     INTEGER NOT NULL DEFAULT 0,
    unread          INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX messages_page ON messages (conversation_id, message_id);
CREATE INDEX messages_unread ON messages (conversation_id, message_id) WHERE unread = 1;
CREATE INDEX messages_uid ON messages (uid);

CREATE TABLE seen (
    sender  TEXT    NOT NULL,
    uid     TEXT    NOT NULL,
    expires INTEGER NOT NULL,
    PRIMARY KEY (sender, uid)
) STRICT, WITHOUT ROWID;
CREATE INDEX seen_expires ON seen (expires);

CREATE TABLE outbox (
    position   INTEGER PRIMARY KEY AUTOINCREMENT,
    message_id INTEGER NOT NULL UNIQUE REFERENCES messages ON DELETE CASCADE,
    seq        INTEGER NOT NULL,
    bytes      INTEGER NOT NULL,
    state      INTEGER NOT NULL CHECK (state IN (10, 20, 30)),
    tries      INTEGER NOT NULL DEFAULT 0,
    last_try   INTEGER NOT NULL DEFAULT 0,
    taken      INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX outbox_state ON outbox (state, position);

CREATE TABLE outbox_size (
    row      INTEGER PRIMARY KEY CHECK (row = 1),
    messages INTEGER NOT NULL,
    bytes    INTEGER NOT NULL
) STRICT;
INSERT INTO outbox_size (row, messages, bytes) VALUES (1, 0, 0);
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

CREATE TABLE receipts_due (
    receipt_id INTEGER PRIMARY KEY AUTOINCREMENT,
    peer       TEXT NOT NULL,
    uid        TEXT NOT NULL,
    UNIQUE (peer, uid)
) STRICT;

CREATE TABLE group_senders (
    group_id TEXT    NOT NULL,
    sender   TEXT    NOT NULL,
    origin   TEXT    NOT NULL,
    last_seq INTEGER NOT NULL,
    PRIMARY KEY (group_id, sender, origin)
) STRICT, WITHOUT ROWID;

CREATE TABLE events (
    event_offset INTEGER PRIMARY KEY AUTOINCREMENT,
    time         INTEGER NOT NULL,
    kind         INTEGER NOT NULL,
    message_id   INTEGER NOT NULL DEFAULT 0,
    detail       TEXT    NOT NULL DEFAULT ''
) STRICT;

CREATE TABLE cursors (
    app_id       TEXT    NOT NULL,
    name         TEXT    NOT NULL,
    event_offset INTEGER NOT NULL,
    PRIMARY KEY (app_id, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE unreadable (
    unreadable_id INTEGER PRIMARY KEY AUTOINCREMENT,
    time          INTEGER NOT NULL,
    topic         TEXT    NOT NULL,
    reason        TEXT    NOT NULL,
    payload       BLOB    NOT NULL
) STRICT;

CREATE TABLE search_queue (
    message_id INTEGER PRIMARY KEY
) STRICT;
CREATE VIRTUAL TABLE search USING fts5 (
    tokens, conversation, content = '', contentless_delete = 1, tokenize = 'unicode61 remove_diacritics 2'
);
