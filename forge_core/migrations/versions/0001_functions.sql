-- SECURITY DEFINER functions name pg_temp last: unnamed it would be searched first, and a caller's
-- temporary table could stand in for one of ours.

-- Forge time: the database's clock, plus what a sandbox has moved it forward.
CREATE FUNCTION forge_now() RETURNS timestamptz
    LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp
AS $$
    SELECT clock_timestamp() + coalesce((SELECT clock_offset FROM public.instance), INTERVAL '0')
$$;

-- Entries as folds read them. OFFSET 0 keeps each body from being parsed once per column.
CREATE FUNCTION forge_entries(ids bigint[])
    RETURNS TABLE (id bigint, at timestamptz, actor text, subject text, data jsonb, command text)
    LANGUAGE sql STABLE
AS $$
    SELECT parsed.id, (parsed.body ->> 'at')::timestamptz, parsed.body ->> 'actor',
        parsed.body ->> 'subject', parsed.body -> 'data', parsed.body ->> 'command'
    FROM (
        SELECT stored.id, convert_from(stored.body, 'UTF8')::jsonb AS body
        FROM ledger_entries AS stored WHERE stored.id = ANY (ids)
        ORDER BY stored.id
        OFFSET 0
    ) AS parsed
$$;

-- A command id is a UUID; anything else is no id at all.
CREATE FUNCTION forge_uuid(given text) RETURNS uuid LANGUAGE sql IMMUTABLE AS $$
    -- Every digit as a zero: half the time of a regular expression.
    SELECT CASE
        WHEN translate(given, '0123456789abcdefABCDEF', '0000000000000000000000')
            = '00000000-0000-0000-0000-000000000000'
        THEN given::uuid
    END
$$;

-- Accept ballots: the only way into the inbox.
--
-- ballots: JSON array of {command_id, proposal_id, member_id, choice}. One row comes back per
-- element, in order. A refused ballot is refused alone; the same command id with the same content
-- gets its first answer again, with other content COMMAND_CONFLICT.
--
-- The proposals are locked FOR KEY SHARE in id order, which closing (FOR UPDATE) waits for and
-- counting (FOR NO KEY UPDATE) does not. One reading of forge_now() after the locks is both the
-- check against closes_at and the stamp. Call it in a transaction of its own.
CREATE FUNCTION forge_accept_ballots(p_issuer text, p_ballots json)
    RETURNS TABLE (
        command_id uuid, ballot_id bigint, accepted_at timestamptz, code text, message text,
        duplicate boolean
    )
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    v_now timestamptz;
    v_ids uuid[];
    v_proposals text[];
    v_members text[];
    v_choices text[];
    v_contents bytea[];
    v_open text[];
    v_new uuid[];
BEGIN
    -- With an older snapshot the checks below would read what was true before the locks.
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION 'ballots are accepted in READ COMMITTED only'
            USING ERRCODE = 'invalid_transaction_state';
    END IF;
    IF p_issuer IS NULL OR p_issuer !~ '^[!-~]{1,100}$' THEN
        RAISE EXCEPTION 'the issuer is 1 to 100 printable characters without spaces'
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF json_array_length(p_ballots) > 10000 THEN
        RAISE EXCEPTION 'at most 10000 ballots at once' USING ERRCODE = 'program_limit_exceeded';
    END IF;

    -- Read once: parsing, checking and hashing is a good part of what a ballot costs.
    SELECT array_agg(forge_uuid(command_id)), array_agg(proposal_id), array_agg(member_id),
        array_agg(choice),
        array_agg(sha256(
            convert_to(json_build_array(proposal_id, member_id, choice)::text, 'UTF8')
        ))
    INTO v_ids, v_proposals, v_members, v_choices, v_contents
    FROM json_to_recordset(p_ballots)
        AS ballot (command_id text, proposal_id text, member_id text, choice text);

    -- Only what is open is locked: nobody can hold up a proposal that takes no ballots any more,
    -- and a stream of late ballots never stands in the way of the close.
    SELECT coalesce(array_agg(id), '{}') INTO v_open
    FROM (
        SELECT id FROM proposals
        WHERE id IN (SELECT DISTINCT unnest(v_proposals))
            AND status = 'active' AND closes_at >= forge_now()
        ORDER BY id FOR KEY SHARE
    ) AS locked;

    v_now := forge_now();

    WITH given AS MATERIALIZED (
        SELECT * FROM unnest(v_ids, v_proposals, v_members, v_choices, v_contents)
            WITH ORDINALITY
            AS ballot (command_id, proposal_id, member_id, choice, content, position)
    ), first AS (
        SELECT DISTINCT ON (command_id) * FROM given
        WHERE command_id IS NOT NULL
        ORDER BY command_id, position
    ), looked_up AS (
        SELECT first.*, proposal.status, proposal.closes_at, proposal.electorate IS NOT NULL AS imported,
            member.id IS NOT NULL AS known, member.active, member.level,
            restriction.until AS restricted_until,
            CASE
                WHEN proposal.electorate IS NOT NULL THEN (
                    SELECT roll.weight FROM imported_weights AS roll
                    WHERE roll.electorate_id = proposal.electorate
                        AND roll.member_id = first.member_id
                )
                ELSE (
                    SELECT CASE
                        WHEN history.active AND history.level <> 'QUARANTINE'
                        THEN (proposal.weights ->> history.level)::numeric
                    END
                    FROM member_levels AS history
                    WHERE history.member_id = first.member_id
                        AND history.version <= proposal.electorate_version
                    ORDER BY history.version DESC
                    LIMIT 1
                )
            END AS weight
        FROM first
        LEFT JOIN proposals AS proposal ON proposal.id = first.proposal_id
        LEFT JOIN members AS member ON member.id = first.member_id
        LEFT JOIN restrictions AS restriction
            ON restriction.member_id = first.member_id AND restriction.until > clock_timestamp()
    ), judged AS (
        SELECT *, CASE
            WHEN status IS NULL THEN 'PROPOSAL_UNKNOWN'
            WHEN status <> 'active' THEN 'PROPOSAL_NOT_ACTIVE'
            WHEN v_now > closes_at THEN 'VOTING_CLOSED'
            -- It opened between the lock and this statement: no lock protects the ballot.
            WHEN NOT proposal_id = ANY (v_open) THEN 'PROPOSAL_NOT_ACTIVE'
            WHEN choice IS NULL OR choice NOT IN ('for', 'against', 'abstain') THEN 'CHOICE_INVALID'
            WHEN NOT known THEN 'MEMBER_UNKNOWN'
            WHEN NOT active THEN 'MEMBER_INACTIVE'
            WHEN level = 'QUARANTINE' THEN 'MEMBER_QUARANTINED'
            WHEN restricted_until IS NOT NULL THEN 'MEMBER_RESTRICTED'
            WHEN weight IS NULL THEN 'VOTER_NOT_IN_ROLL'
            WHEN weight = 0 AND NOT imported THEN 'VOTER_WEIGHTLESS'
        END AS code
        FROM looked_up
    ), numbered AS MATERIALIZED (
        SELECT *, CASE WHEN code IS NULL THEN nextval('ballot_numbers') END AS ballot_id
        FROM (SELECT * FROM judged ORDER BY position) AS in_order
    ), noted AS (
        -- In id order, so that two calls with the same ids wait for each other, never in a circle.
        INSERT INTO commands (issuer, command_id, content_hash, accepted_at, ballot_id, state, code, message)
        SELECT p_issuer, command_id, content, v_now, ballot_id,
            CASE WHEN code IS NULL THEN 'accepted' ELSE 'refused' END, code,
            CASE code
                WHEN 'PROPOSAL_UNKNOWN' THEN 'there is no such proposal'
                WHEN 'PROPOSAL_NOT_ACTIVE' THEN 'the proposal was not open for voting: it is ' || status
                WHEN 'VOTING_CLOSED' THEN 'voting closed at ' || closes_at
                WHEN 'CHOICE_INVALID' THEN 'a choice is for, against or abstain'
                WHEN 'MEMBER_UNKNOWN' THEN 'there is no such member'
                WHEN 'MEMBER_INACTIVE' THEN 'the member is not active'
                WHEN 'MEMBER_QUARANTINED' THEN 'the member is at level QUARANTINE'
                WHEN 'MEMBER_RESTRICTED' THEN 'the member is restricted until ' || restricted_until
                WHEN 'VOTER_NOT_IN_ROLL' THEN 'the member was not in the roll when voting opened'
                WHEN 'VOTER_WEIGHTLESS' THEN 'the member''s level has no weight in this vote'
            END
        FROM numbered
        ORDER BY command_id
        ON CONFLICT DO NOTHING
        RETURNING command_id
    ), placed AS (
        INSERT INTO ballot_inbox
            (ballot_id, proposal_id, member_id, choice, weight, accepted_at, issuer, command_id)
        SELECT ballot_id, proposal_id, member_id, choice, weight, v_now, p_issuer, command_id
        FROM numbered JOIN noted USING (command_id)
        WHERE code IS NULL
    )
    SELECT coalesce(array_agg(command_id), '{}') INTO v_new FROM noted;

    -- A later statement, so that what a concurrent call committed under the same id is seen.
    RETURN QUERY
    WITH given AS (
        SELECT command_id, content, position,
            row_number() OVER (PARTITION BY command_id ORDER BY position) AS occurrence
        FROM unnest(v_ids, v_contents) WITH ORDINALITY AS ballot (command_id, content, position)
    )
    SELECT given.command_id,
        CASE WHEN same THEN known.ballot_id END,
        CASE WHEN same AND known.code IS NULL THEN known.accepted_at END,
        CASE
            WHEN given.command_id IS NULL THEN 'COMMAND_ID_INVALID'
            WHEN NOT same THEN 'COMMAND_CONFLICT'
            ELSE known.code
        END,
        CASE
            WHEN given.command_id IS NULL THEN 'a command id is a UUID'
            WHEN NOT same THEN 'this command id was used with other content'
            ELSE known.message
        END,
        given.command_id IS NOT NULL
            AND (given.command_id <> ALL (v_new) OR given.occurrence > 1)
    FROM given
    -- LIMIT keeps this an index look-up each, however the planner thinks of a growing table.
    LEFT JOIN LATERAL (
        SELECT * FROM commands
        WHERE issuer = p_issuer AND command_id = given.command_id
        LIMIT 1
    ) AS known ON true
    LEFT JOIN LATERAL (SELECT known.content_hash = given.content AS same) AS comparison ON true
    ORDER BY given.position;
END
$$;

-- Submit commands: each becomes a job, once per issuer and command id.
--
-- commands: JSON array of {command_id, kind, actor, payload}. What is accepted here is only
-- recorded; the job's own step decides. Answers as in forge_answers().
CREATE FUNCTION forge_submit_commands(p_issuer text, p_commands json)
    RETURNS TABLE (command_id uuid, state text, code text, message text, duplicate boolean)
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    v_new uuid[];
BEGIN
    IF p_issuer IS NULL OR p_issuer !~ '^[!-~]{1,100}$' THEN
        RAISE EXCEPTION 'the issuer is 1 to 100 printable characters without spaces'
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF json_array_length(p_commands) > 10000 THEN
        RAISE EXCEPTION 'at most 10000 commands at once' USING ERRCODE = 'program_limit_exceeded';
    END IF;

    WITH given AS MATERIALIZED (
        SELECT forge_uuid(command_id) AS command_id, kind, actor, payload, position,
            sha256(convert_to(jsonb_build_array(kind, actor, payload)::text, 'UTF8')) AS content
        FROM ROWS FROM (
            json_to_recordset(p_commands) AS (command_id text, kind text, actor text, payload jsonb)
        ) WITH ORDINALITY AS command (command_id, kind, actor, payload, position)
    ), first AS (
        SELECT DISTINCT ON (command_id) * FROM given
        WHERE command_id IS NOT NULL AND forge_command_problem(kind, actor, payload) IS NULL
        ORDER BY command_id, position
    ), noted AS (
        INSERT INTO commands (issuer, command_id, content_hash, accepted_at, state)
        SELECT p_issuer, command_id, content, clock_timestamp(), 'pending'
        FROM first ORDER BY command_id
        ON CONFLICT DO NOTHING
        RETURNING command_id
    ), recorded AS (
        INSERT INTO jobs (kind, key, once, payload, actor, issuer, command_id)
        SELECT kind, 'command:' || p_issuer || ':' || command_id, true, payload, actor, p_issuer, command_id
        FROM first JOIN noted USING (command_id)
        ORDER BY position
    )
    SELECT coalesce(array_agg(command_id), '{}') INTO v_new FROM noted;

    RETURN QUERY
    WITH given AS (
        SELECT forge_uuid(command_id) AS command_id, position,
            forge_command_problem(kind, actor, payload) AS problem,
            row_number() OVER (PARTITION BY forge_uuid(command_id) ORDER BY position) AS occurrence,
            sha256(convert_to(jsonb_build_array(kind, actor, payload)::text, 'UTF8')) AS content
        FROM ROWS FROM (
            json_to_recordset(p_commands) AS (command_id text, kind text, actor text, payload jsonb)
        ) WITH ORDINALITY AS command (command_id, kind, actor, payload, position)
    )
    SELECT given.command_id,
        CASE
            WHEN given.command_id IS NULL OR NOT same OR same IS NULL THEN 'refused'
            ELSE known.state
        END,
        CASE
            WHEN given.command_id IS NULL THEN 'COMMAND_ID_INVALID'
            WHEN NOT same THEN 'COMMAND_CONFLICT'
            WHEN same IS NULL THEN 'COMMAND_INVALID'
            ELSE known.code
        END,
        CASE
            WHEN given.command_id IS NULL THEN 'a command id is a UUID'
            WHEN NOT same THEN 'this command id was used with other content'
            WHEN same IS NULL THEN problem
            ELSE known.message
        END,
        same IS NOT NULL AND (fresh.command_id IS NULL OR given.occurrence > 1)
    FROM given
    LEFT JOIN commands AS known ON known.issuer = p_issuer AND known.command_id = given.command_id
    LEFT JOIN LATERAL (SELECT known.content_hash = given.content AS same) AS comparison ON true
    LEFT JOIN unnest(v_new) AS fresh (command_id) ON fresh.command_id = given.command_id
    ORDER BY given.position;
END
$$;

-- Why a command cannot even be recorded; NULL when it can. The list is that of wiring.py.
CREATE FUNCTION forge_command_problem(p_kind text, p_actor text, p_payload jsonb) RETURNS text
    LANGUAGE sql IMMUTABLE
AS $$
    SELECT CASE
        WHEN p_kind IS NULL OR p_kind NOT IN (
            'proposals.create', 'proposals.activate', 'proposals.cancel',
            'members.admit', 'members.restrict', 'members.release',
            'members.delegate', 'members.revoke_delegation', 'members.import_electorate',
            'clock.advance'
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

-- The answers to an issuer's own commands, as far as they are known.
CREATE FUNCTION forge_answers(p_issuer text, p_command_ids uuid[])
    RETURNS TABLE (command_id uuid, state text, code text, message text, result jsonb)
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp
AS $$
    SELECT command_id, state, code, message, result FROM public.commands
    WHERE issuer = p_issuer AND command_id = ANY (p_command_ids)
$$;

-- What governance has set a registered key to; no row while it stands at its default.
CREATE FUNCTION forge_setting(p_key text) RETURNS jsonb
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp
AS $$
    SELECT value FROM public.setting_values WHERE key = p_key
$$;
