-- Answers that are kept for whoever asks again. The frame's, as is every migration from 9000 on.
CREATE TABLE idempotency (
    route TEXT NOT NULL,
    caller TEXT NOT NULL,
    key TEXT NOT NULL,
    request BLOB NOT NULL,
    status INTEGER NOT NULL,
    head BLOB NOT NULL,
    body BLOB NOT NULL,
    kept_at INTEGER NOT NULL,
    PRIMARY KEY (route, caller, key)
) STRICT;

CREATE INDEX idempotency_kept_at ON idempotency (kept_at);
