-- Pages and the gateway only read, and not everything: no addresses and no raw events, no work in
-- progress, no secrets. A later table is opened to them by the migration that makes it.
GRANT USAGE ON SCHEMA public TO forge_reader;
GRANT SELECT ON ALL TABLES IN SCHEMA public TO forge_reader;
DO $$
DECLARE
    closed text;
BEGIN
    FOR closed IN
        SELECT tablename FROM pg_tables WHERE schemaname = 'public' AND (
            tablename IN (
                'advice_batches', 'alembic_version', 'ballot_inbox', 'ballots', 'commands',
                'dead_letters', 'event_cursors', 'heartbeats', 'jobs', 'named_locks',
                'address_minutes', 'download_hours', 'host_minutes', 'immune_actions',
                'immune_responses', 'incidents', 'known_addresses', 'member_minutes',
                'overlay_baselines', 'overlay_minutes', 'runtime_unjudged'
            )
            OR tablename LIKE 'runtime_events%'
        )
    LOOP
        EXECUTE format('REVOKE SELECT ON public.%I FROM forge_reader', closed);
    END LOOP;
END
$$;
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
GRANT SELECT ON access_tokens TO forge_reader;
