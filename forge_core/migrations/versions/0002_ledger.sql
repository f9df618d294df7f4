-- The ledger becomes something to verify: every entry gets one position, positions get a tree, and
-- the tree's roots are signed.

-- The database hashes what it stores, so that no other hash can stand beside a body.
ALTER TABLE ledger_entries
    DROP COLUMN leaf_hash,
    ADD COLUMN leaf_hash BYTEA NOT NULL GENERATED ALWAYS AS (sha256('\x00'::bytea || body)) STORED;

CREATE TABLE ledger_unsealed (
    entry_id BIGINT NOT NULL,
    CONSTRAINT ledger_unsealed_pkey PRIMARY KEY (entry_id)
);
-- Rows pass through in seconds.
ALTER TABLE ledger_unsealed SET (
    autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000,
    autovacuum_vacuum_cost_delay = 0
);

CREATE TABLE ledger_order (
    position BIGINT NOT NULL,
    entry_id BIGINT NOT NULL,
    leaf_hash BYTEA NOT NULL,
    CONSTRAINT ledger_order_pkey PRIMARY KEY (position),
    CONSTRAINT ledger_order_entry_id_key UNIQUE (entry_id),
    CONSTRAINT ledger_order_leaf_hash_check CHECK (octet_length(leaf_hash) = 32),
    CONSTRAINT ledger_order_position_check CHECK (position >= 0)
);

CREATE TABLE ledger_tiles (
    level SMALLINT NOT NULL,
    index BIGINT NOT NULL,
    root BYTEA NOT NULL,
    CONSTRAINT ledger_tiles_pkey PRIMARY KEY (level, index),
    CONSTRAINT ledger_tiles_root_check CHECK (octet_length(root) = 32)
);

CREATE TABLE ledger_checkpoints (
    size BIGINT NOT NULL,
    note TEXT NOT NULL,
    CONSTRAINT ledger_checkpoints_pkey PRIMARY KEY (size)
);

CREATE TABLE ledger_cosignatures (
    size BIGINT NOT NULL,
    witness TEXT NOT NULL,
    line TEXT NOT NULL,
    CONSTRAINT ledger_cosignatures_pkey PRIMARY KEY (size, witness)
);

CREATE TABLE ledger_keys (
    vkey TEXT NOT NULL,
    role TEXT NOT NULL,
    replaces TEXT,
    announced_at timestamptz NOT NULL,
    CONSTRAINT ledger_keys_pkey PRIMARY KEY (vkey),
    CONSTRAINT ledger_keys_role_check CHECK (role IN ('log', 'promises', 'witness'))
);

CREATE TABLE erasures (
    commitment TEXT NOT NULL,
    erased_by TEXT NOT NULL,
    erased_at timestamptz NOT NULL,
    reason TEXT NOT NULL,
    CONSTRAINT erasures_pkey PRIMARY KEY (commitment)
);

CREATE TABLE event_cursors (
    stream TEXT NOT NULL,
    position BIGINT NOT NULL,
    fence BIGINT NOT NULL,
    lease_until timestamptz NOT NULL,
    CONSTRAINT event_cursors_pkey PRIMARY KEY (stream)
);

CREATE TABLE ledger_audits (
    id SMALLINT NOT NULL,
    position BIGINT NOT NULL,
    frontier JSONB NOT NULL,
    began_at timestamptz NOT NULL,
    completed_at timestamptz,
    findings JSONB NOT NULL,
    CONSTRAINT ledger_audits_pkey PRIMARY KEY (id),
    CONSTRAINT ledger_audits_single_check CHECK (id = 1)
);
INSERT INTO ledger_audits (id, position, frontier, began_at, findings)
VALUES (1, 0, '[]', clock_timestamp(), '[]');

DROP INDEX ledger_entries_subject_ix;
CREATE INDEX ledger_order_leaf_ix ON ledger_order USING hash (leaf_hash);
CREATE INDEX ledger_entries_subject_ix ON ledger_entries (subject, id) WHERE kind <> 'ballot.cast';

INSERT INTO ledger_unsealed (entry_id) SELECT id FROM ledger_entries;

-- Whoever appends an entry, however: it waits for the sealer from its own transaction on.
CREATE FUNCTION forge_await_sealing() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp
AS $$
BEGIN
    INSERT INTO public.ledger_unsealed (entry_id) SELECT id FROM appended ORDER BY id;
    RETURN NULL;
END
$$;

CREATE TRIGGER await_sealing AFTER INSERT ON ledger_entries
    REFERENCING NEW TABLE AS appended
    FOR EACH STATEMENT EXECUTE FUNCTION forge_await_sealing();
ALTER TABLE ledger_entries ENABLE ALWAYS TRIGGER await_sealing;

DO $$
DECLARE
    grown text;
BEGIN
    FOREACH grown IN ARRAY
        ARRAY['ledger_order', 'ledger_tiles', 'ledger_checkpoints', 'ledger_cosignatures']
    LOOP
        EXECUTE format('CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON %I
            FOR EACH ROW EXECUTE FUNCTION forge_refuse_change()', grown);
        EXECUTE format('CREATE TRIGGER no_truncate BEFORE TRUNCATE ON %I
            FOR EACH STATEMENT EXECUTE FUNCTION forge_refuse_change()', grown);
        EXECUTE format('ALTER TABLE %I ENABLE ALWAYS TRIGGER append_only', grown);
        EXECUTE format('ALTER TABLE %I ENABLE ALWAYS TRIGGER no_truncate', grown);
    END LOOP;
END
$$;

-- Entries of earlier schemas, as the present folds read them: one CASE for each that ever changed.
--
-- ballot.counted and ballot.uncounted 1: two kinds, told apart by what became of the ballot. Now a
-- ballot's entry is fixed when it is accepted (so that it can be promised), and its fold sees
-- whether the voting was still open.
CREATE FUNCTION forge_upcast(body jsonb) RETURNS jsonb LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE
        WHEN body ->> 'kind' IN ('ballot.counted', 'ballot.uncounted') THEN
            jsonb_set(
                jsonb_set(body, '{data,counted}', to_jsonb(body ->> 'kind' = 'ballot.counted')),
                '{kind}', '"ballot.cast"'
            )
        ELSE body
    END
$$;

CREATE OR REPLACE FUNCTION forge_entries(ids bigint[])
    RETURNS TABLE (id bigint, at timestamptz, actor text, subject text, data jsonb, command text)
    LANGUAGE sql STABLE
AS $$
    SELECT parsed.id, (parsed.body ->> 'at')::timestamptz, parsed.body ->> 'actor',
        parsed.body ->> 'subject', parsed.body -> 'data', parsed.body ->> 'command'
    FROM (
        SELECT stored.id, forge_upcast(stored.body) AS body
        FROM (
            SELECT entry.id, convert_from(entry.body, 'UTF8')::jsonb AS body
            FROM ledger_entries AS entry WHERE entry.id = ANY (ids)
            ORDER BY entry.id
            OFFSET 0
        ) AS stored
        OFFSET 0
    ) AS parsed
$$;

-- Ballots up to this one were counted under the first schema, whose entries nobody could promise.
DO $$
BEGIN
    EXECUTE format(
        'CREATE FUNCTION forge_last_counted() RETURNS bigint LANGUAGE sql IMMUTABLE AS %L',
        format('SELECT %s::bigint', (SELECT coalesce(max(ballot_id), 0) FROM ballots))
    );
END
$$;

-- What an issuer's own accepted ballots will say in the ledger: the promise is made of it.
CREATE FUNCTION forge_own_ballots(p_issuer text, p_command_ids uuid[])
    RETURNS TABLE (
        command_id uuid, ballot_id bigint, proposal_id text, member_id text, choice text,
        weight text, accepted_at timestamptz
    )
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp
AS $$
    SELECT known.command_id, ballot.ballot_id, ballot.proposal_id, ballot.member_id, ballot.choice,
        ballot.weight::text, ballot.accepted_at
    FROM public.commands AS known, LATERAL (
        SELECT ballot_id, proposal_id, member_id, choice, weight, accepted_at
        FROM public.ballot_inbox WHERE ballot_id = known.ballot_id
        UNION ALL
        SELECT ballot_id, proposal_id, member_id, choice, weight, accepted_at
        FROM public.ballots
        WHERE ballot_id = known.ballot_id AND ballot_id > public.forge_last_counted()
    ) AS ballot
    WHERE known.issuer = p_issuer AND known.command_id = ANY (p_command_ids)
$$;

CREATE OR REPLACE FUNCTION forge_command_problem(p_kind text, p_actor text, p_payload jsonb) RETURNS text
    LANGUAGE sql IMMUTABLE
AS $$
    SELECT CASE
        WHEN p_kind IS NULL OR p_kind NOT IN (
            'proposals.create', 'proposals.activate', 'proposals.cancel',
            'members.admit', 'members.restrict', 'members.release',
            'members.delegate', 'members.revoke_delegation', 'members.import_electorate',
            'clock.advance', 'ledger.erase_text'
        ) THEN 'there is no such kind of command'
        WHEN p_actor IS NULL OR length(p_actor) NOT BETWEEN 1 AND 200
            THEN 'a command names its acting member'
        WHEN p_payload IS NULL OR jsonb_typeof(p_payload) <> 'object'
            THEN 'a payload is a JSON object'
        WHEN octet_length(p_payload::text) > 1000000 THEN 'a payload has at most 1000000 bytes'
        -- What Python's JSON reader gives up on would keep a claim from reading any row at all.
        WHEN jsonb_path_exists(p_payload, 'strict $.**{33 to last}')
            THEN 'a payload is nested at most 32 levels deep'
        WHEN jsonb_path_exists(
            p_payload, 'strict $.** ? (@.type() == "number" && (@ >= 1e1000 || @ <= -1e1000))'
        ) THEN 'a number in a payload has at most 1000 digits'
    END
$$;

-- Say in the ledger that an issuer's own commands were received: that can be promised at once, what
-- becomes of them cannot. Once each, whoever asks how often; the index says so, and no row is locked
-- that a step needs. Their content stays out of it: a hash of a text that may be erased would let
-- anybody try guesses.
CREATE UNIQUE INDEX ledger_entries_received_key ON ledger_entries (subject)
    WHERE kind = 'command.received';

CREATE FUNCTION forge_receive_commands(p_issuer text, p_command_ids uuid[])
    RETURNS TABLE (command_id uuid, kind text, received_at timestamptz)
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    v_now text := to_char(forge_now() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"');
BEGIN
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION 'commands are received in READ COMMITTED only'
            USING ERRCODE = 'invalid_transaction_state';
    END IF;
    INSERT INTO ledger_entries (kind, subject, body)
    SELECT 'command.received', 'command:' || named.name, convert_to(
        '{"actor":' || to_json('issuer:' || p_issuer)::text
        || ',"at":"' || v_now
        || '","command":' || to_json(named.name)::text
        || ',"data":{"kind":' || to_json(jobs.kind)::text
        || '},"kind":"command.received","subject":' || to_json('command:' || named.name)::text
        || ',"v":1}', 'UTF8')
    FROM commands
        JOIN jobs ON once AND key = 'command:' || p_issuer || ':' || commands.command_id,
        LATERAL (SELECT p_issuer || '/' || commands.command_id AS name) AS named
    WHERE commands.issuer = p_issuer AND commands.command_id = ANY (p_command_ids)
    ORDER BY commands.command_id
    ON CONFLICT (subject) WHERE kind = 'command.received' DO NOTHING;

    -- A later statement, so that what a concurrent call has written is seen.
    RETURN QUERY
    SELECT given.id, received.document -> 'data' ->> 'kind', (received.document ->> 'at')::timestamptz
    FROM unnest(p_command_ids) AS given (id), LATERAL (
        SELECT convert_from(body, 'UTF8')::jsonb AS document FROM ledger_entries
        WHERE subject = 'command:' || p_issuer || '/' || given.id AND kind = 'command.received'
    ) AS received;
END
$$;

REVOKE ALL ON FUNCTION forge_await_sealing(), forge_last_counted(), forge_upcast(jsonb), forge_own_ballots(text, uuid[]),
    forge_receive_commands(text, uuid[])
FROM PUBLIC;
GRANT SELECT, INSERT ON ledger_order, ledger_tiles, ledger_checkpoints, ledger_cosignatures
    TO forge_app;
GRANT SELECT, DELETE ON ledger_unsealed TO forge_app;
GRANT SELECT, INSERT, UPDATE, DELETE ON ledger_keys, erasures, event_cursors, ledger_audits
    TO forge_app;
GRANT EXECUTE ON FUNCTION forge_upcast(jsonb) TO forge_app;
GRANT EXECUTE ON FUNCTION forge_own_ballots(text, uuid[]), forge_receive_commands(text, uuid[])
TO forge_app, forge_client;
