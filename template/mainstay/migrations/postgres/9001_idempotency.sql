-- Answers that are kept for whoever asks again. The frame's, as is every migration from 9000 on.
CREATE TABLE idempotency (
    route TEXT NOT NULL,
    caller TEXT NOT NULL,
    key TEXT NOT NULL,
    request BYTEA NOT NULL,
    status INTEGER NOT NULL,
    head BYTEA NOT NULL,
    body BYTEA NOT NULL,
    kept_at BIGINT NOT NULL,
    PRIMARY KEY (route, caller, key)
);

CREATE INDEX idempotency_kept_at ON idempotency (kept_at);
