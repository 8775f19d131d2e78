-- The account database as the newest migration leaves it. Documentation: what makes it is migrations/, and a
-- test holds the two together.

-- What the database is: app_key and user_id (whose it is), epoch (random, made with the file: an offset counts
-- within one epoch only), created (milliseconds since 1970, as text).
CREATE TABLE meta (
    key   TEXT NOT NULL PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- The groups the user is a member of. The id is a topic level, so what a topic gives a meaning to is kept out.
CREATE TABLE groups (
    group_id TEXT NOT NULL PRIMARY KEY
        CHECK (octet_length(group_id) BETWEEN 1 AND 64 AND group_id NOT GLOB '*[/+#]*')
) STRICT, WITHOUT ROWID;
