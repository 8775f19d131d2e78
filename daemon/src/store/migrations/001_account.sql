CREATE TABLE meta (
    key   TEXT NOT NULL PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE groups (
    group_id TEXT NOT NULL PRIMARY KEY
        CHECK (octet_length(group_id) BETWEEN 1 AND 64 AND group_id NOT GLOB '*[/+#]*')
) STRICT, WITHOUT ROWID;
