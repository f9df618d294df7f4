-- Pages and the gateway only read: whoever takes them over can change nothing.
GRANT USAGE ON SCHEMA public TO forge_reader;
GRANT SELECT ON ALL TABLES IN SCHEMA public TO forge_reader;
ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT ON TABLES TO forge_reader;
GRANT EXECUTE ON FUNCTION forge_now(), forge_held(timestamptz, timestamptz) TO forge_reader;

-- What opens the gateway: a hash of it, never itself.
CREATE TABLE access_tokens (
    id TEXT NOT NULL,
    holder TEXT NOT NULL,
    secret_hash BYTEA NOT NULL,
    scopes TEXT[] NOT NULL,
    issued_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    revoked_at timestamptz,
    CONSTRAINT access_tokens_pkey PRIMARY KEY (id),
    CONSTRAINT access_tokens_secret_hash_key UNIQUE (secret_hash),
    CONSTRAINT access_tokens_secret_hash_check CHECK (octet_length(secret_hash) = 32),
    CONSTRAINT access_tokens_scopes_check CHECK (scopes <> '{}'),
    CONSTRAINT access_tokens_expires_at_check CHECK (expires_at > issued_at)
);
GRANT SELECT, INSERT, UPDATE, DELETE ON access_tokens TO forge_app;
