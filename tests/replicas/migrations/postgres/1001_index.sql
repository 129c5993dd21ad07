-- no-transaction
CREATE INDEX CONCURRENTLY targets_length ON targets (length(url));
