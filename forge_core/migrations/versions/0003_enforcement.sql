-- Between an approved vote and a change: review, sign-off, windows, actions, their way back.

-- What a proposal touches, who comes before it, and where a roll is made at opening.
ALTER TABLE proposals ADD COLUMN predecessor TEXT;

CREATE TABLE proposal_targets (
    proposal_id TEXT NOT NULL,
    target TEXT NOT NULL,
    CONSTRAINT proposal_targets_pkey PRIMARY KEY (proposal_id, target)
);
CREATE INDEX proposal_targets_target_ix ON proposal_targets (target);

CREATE TABLE reviews (
    proposal_id TEXT NOT NULL,
    member_id TEXT NOT NULL,
    approves BOOLEAN NOT NULL,
    weight NUMERIC NOT NULL,
    comment TEXT NOT NULL,
    reviewed_at timestamptz NOT NULL,
    CONSTRAINT reviews_pkey PRIMARY KEY (proposal_id, member_id),
    CONSTRAINT reviews_weight_check CHECK (weight >= 0)
);

CREATE TABLE sign_offs (
    proposal_id TEXT NOT NULL,
    member_id TEXT NOT NULL,
    signed_at timestamptz NOT NULL,
    CONSTRAINT sign_offs_pkey PRIMARY KEY (proposal_id, member_id)
);

-- Times in which nothing is executed; they end by themselves.
CREATE TABLE execution_windows (
    id TEXT NOT NULL,
    kind TEXT NOT NULL,
    from_at timestamptz NOT NULL,
    until_at timestamptz NOT NULL,
    imposed_by TEXT NOT NULL,
    reason TEXT,
    proposal_id TEXT,
    CONSTRAINT execution_windows_pkey PRIMARY KEY (id),
    CONSTRAINT execution_windows_kind_check CHECK (kind IN ('pause', 'freeze')),
    CONSTRAINT execution_windows_until_check CHECK (until_at >= from_at)
);
CREATE INDEX execution_windows_until_ix ON execution_windows (until_at);

-- What takes two people.
CREATE TABLE joint_actions (
    id TEXT NOT NULL,
    kind TEXT NOT NULL,
    subject TEXT NOT NULL,
    status TEXT NOT NULL,
    reason TEXT NOT NULL,
    proposed_by TEXT NOT NULL,
    proposed_at timestamptz NOT NULL,
    lapses_at timestamptz,
    confirmed_by TEXT,
    confirmed_at timestamptz,
    due_at timestamptz,
    ended_at timestamptz,
    failure TEXT,
    CONSTRAINT joint_actions_pkey PRIMARY KEY (id),
    CONSTRAINT joint_actions_kind_check CHECK (kind IN ('quarantine', 'break_glass', 'core_seat')),
    CONSTRAINT joint_actions_status_check CHECK (status IN ('proposed', 'confirmed', 'done', 'cancelled', 'lapsed', 'failed')),
    CONSTRAINT joint_actions_two_check CHECK (confirmed_by <> proposed_by),
    CONSTRAINT joint_actions_lapse_check CHECK (status <> 'proposed' OR lapses_at IS NOT NULL),
    CONSTRAINT joint_actions_due_check CHECK (status <> 'confirmed' OR due_at IS NOT NULL)
);
CREATE INDEX joint_actions_due_ix ON joint_actions (due_at) WHERE status = 'confirmed';
CREATE INDEX joint_actions_lapse_ix ON joint_actions (lapses_at) WHERE status = 'proposed';
CREATE INDEX joint_actions_subject_ix ON joint_actions (subject, kind);

-- What governance added to what the code declares.
CREATE TABLE extensions (
    name TEXT NOT NULL,
    kind TEXT NOT NULL,
    declaration JSONB NOT NULL,
    proposal_id TEXT NOT NULL,
    added_at timestamptz NOT NULL,
    CONSTRAINT extensions_pkey PRIMARY KEY (name),
    CONSTRAINT extensions_kind_check CHECK (kind IN ('parameter', 'feature', 'proposal_type', 'source'))
);

CREATE TABLE modules (
    name TEXT NOT NULL,
    version TEXT NOT NULL,
    owner TEXT NOT NULL,
    governs TEXT NOT NULL,
    rollback TEXT NOT NULL,
    proposal_id TEXT NOT NULL,
    changed_at timestamptz NOT NULL,
    CONSTRAINT modules_pkey PRIMARY KEY (name)
);

CREATE TABLE accounts (
    id TEXT NOT NULL,
    balance NUMERIC NOT NULL,
    CONSTRAINT accounts_pkey PRIMARY KEY (id),
    CONSTRAINT accounts_balance_check CHECK (balance >= 0)
);

-- What members hold, as a registered source last said it.
CREATE TABLE holdings (
    source TEXT NOT NULL,
    member_id TEXT NOT NULL,
    coins NUMERIC NOT NULL,
    minutes NUMERIC NOT NULL,
    tokens NUMERIC NOT NULL,
    usd NUMERIC NOT NULL,
    CONSTRAINT holdings_pkey PRIMARY KEY (source, member_id),
    CONSTRAINT holdings_amounts_check CHECK (coins >= 0 AND minutes >= 0 AND tokens >= 0 AND usd >= 0)
);

CREATE TABLE holdings_reports (
    source TEXT NOT NULL,
    version BIGINT NOT NULL,
    reported_at timestamptz NOT NULL,
    CONSTRAINT holdings_reports_pkey PRIMARY KEY (source)
);

-- Effects outside the database, by a key that the other side honours.
CREATE TABLE outbox (
    proposal_id TEXT NOT NULL,
    action INTEGER NOT NULL,
    direction TEXT NOT NULL,
    capability TEXT NOT NULL,
    before JSONB NOT NULL,
    after JSONB NOT NULL,
    state TEXT DEFAULT 'pending' NOT NULL,
    attempt INTEGER DEFAULT '0' NOT NULL,
    not_before timestamptz DEFAULT clock_timestamp() NOT NULL,
    created_at timestamptz DEFAULT clock_timestamp() NOT NULL,
    finished_at timestamptz,
    message TEXT,
    CONSTRAINT outbox_pkey PRIMARY KEY (proposal_id, action, direction),
    CONSTRAINT outbox_direction_check CHECK (direction IN ('apply', 'undo')),
    CONSTRAINT outbox_state_check CHECK (state IN ('pending', 'delivered', 'dead'))
);
CREATE INDEX outbox_pending_ix ON outbox (not_before) WHERE state = 'pending';

ALTER TABLE overlays ADD COLUMN trust TEXT DEFAULT 'SANDBOX' NOT NULL;
ALTER TABLE overlays ADD CONSTRAINT overlays_trust_check
    CHECK (trust IN ('CORE', 'TRUSTED', 'STANDARD', 'SANDBOX', 'QUARANTINE'));

ALTER TABLE policies
    ADD COLUMN action INTEGER DEFAULT '0' NOT NULL,
    DROP CONSTRAINT policies_pkey,
    ADD CONSTRAINT policies_pkey PRIMARY KEY (proposal_id, action);

-- What each action changed, from what to what, and what its undo needs beside that.
ALTER TABLE effects
    ADD COLUMN cause TEXT,
    ADD COLUMN type TEXT,
    ADD COLUMN target TEXT,
    ADD COLUMN before JSONB,
    ADD COLUMN after JSONB,
    ADD COLUMN way_back JSONB,
    ADD COLUMN microseconds BIGINT;
UPDATE effects SET cause = proposal_id;
CREATE INDEX effects_applied_ix ON effects (applied_at, proposal_id, action);
CREATE INDEX effects_target_ix ON effects (target, applied_at);

-- Leases that ran out: a step that kills its worker every time is given up.
ALTER TABLE jobs ADD COLUMN lost INTEGER DEFAULT '0' NOT NULL;

-- How much of [from, until) lies in windows, however they overlap: grace does not run in it.
CREATE FUNCTION forge_held(p_from timestamptz, p_until timestamptz) RETURNS interval
    LANGUAGE sql STABLE
AS $$
    SELECT coalesce(sum(upper(span) - lower(span)), INTERVAL '0')
    FROM (
        SELECT unnest(range_agg(
            tstzrange(greatest(from_at, p_from), least(until_at, p_until))
        )) AS span
        FROM execution_windows
        WHERE from_at < p_until AND until_at > p_from AND until_at > from_at
    ) AS held
$$;

CREATE OR REPLACE FUNCTION forge_guard_lifecycle() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        IF NEW.status <> 'draft' THEN
            RAISE EXCEPTION 'a proposal begins as a draft' USING ERRCODE = 'check_violation';
        END IF;
        RETURN NEW;
    END IF;
    IF TG_OP = 'DELETE' THEN
        RAISE EXCEPTION 'proposals are never deleted' USING ERRCODE = 'restrict_violation';
    END IF;
    IF OLD.status IN ('rejected', 'cancelled', 'expired', 'rolled_back') THEN
        RAISE EXCEPTION 'proposal % is % and final', OLD.id, OLD.status
            USING ERRCODE = 'check_violation';
    END IF;
    IF NEW.status <> OLD.status AND NOT EXISTS (
        SELECT FROM public.lifecycle_edges WHERE from_status = OLD.status AND to_status = NEW.status
    ) THEN
        RAISE EXCEPTION 'proposal % is % and cannot become %', OLD.id, OLD.status, NEW.status
            USING ERRCODE = 'check_violation';
    END IF;
    IF (NEW.id, NEW.type, NEW.proposer, NEW.title, NEW.description, NEW.reason, NEW.payload,
            NEW.payload_hash, NEW.track, NEW.voting_hours, NEW.created_at, NEW.predecessor)
        IS DISTINCT FROM
       (OLD.id, OLD.type, OLD.proposer, OLD.title, OLD.description, OLD.reason, OLD.payload,
            OLD.payload_hash, OLD.track, OLD.voting_hours, OLD.created_at, OLD.predecessor)
    THEN
        RAISE EXCEPTION 'the content of proposal % cannot change', OLD.id
            USING ERRCODE = 'check_violation';
    END IF;
    -- balance:coins becomes balance:coins@7 at opening: the roll as its source stood then.
    IF NEW.electorate IS DISTINCT FROM OLD.electorate AND NOT (
        OLD.status = 'draft' AND NEW.status = 'active'
        AND coalesce(starts_with(NEW.electorate, OLD.electorate || '@'), false)
    ) THEN
        RAISE EXCEPTION 'the electorate of proposal % cannot change', OLD.id
            USING ERRCODE = 'check_violation';
    END IF;
    IF OLD.opened_at IS NOT NULL AND
        (NEW.opened_at, NEW.terms, NEW.weights, NEW.eligible_weight, NEW.eligible_members,
            NEW.electorate_version)
        IS DISTINCT FROM
        (OLD.opened_at, OLD.terms, OLD.weights, OLD.eligible_weight, OLD.eligible_members,
            OLD.electorate_version)
    THEN
        RAISE EXCEPTION 'the terms of proposal % were frozen at opening', OLD.id
            USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END
$$;

-- Nothing is executed that was not queued: no way leads past the gates.
DELETE FROM lifecycle_edges WHERE from_status = 'approved' AND to_status IN ('executed', 'failed');

-- A sandbox may begin at a time of its own; from then on its clock moves forward only.
ALTER TABLE instance DROP CONSTRAINT instance_clock_moves_forward_check;

CREATE OR REPLACE FUNCTION forge_command_problem(p_kind text, p_actor text, p_payload jsonb) RETURNS text
    LANGUAGE sql IMMUTABLE
AS $$
    SELECT CASE
        WHEN p_kind IS NULL OR p_kind NOT IN (
            'proposals.create', 'proposals.activate', 'proposals.cancel',
            'enforcement.review', 'enforcement.sign_off', 'enforcement.retry',
            'enforcement.freeze', 'enforcement.thaw',
            'joint.propose', 'joint.confirm', 'joint.cancel',
            'treasury.deposit',
            'members.admit', 'members.restrict', 'members.release',
            'members.delegate', 'members.revoke_delegation', 'members.import_electorate',
            'members.report_holdings',
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

-- What governance added has a default of its own; of what the code declares the client knows it.
CREATE OR REPLACE FUNCTION forge_setting(p_key text) RETURNS jsonb
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp
AS $$
    SELECT coalesce(
        (SELECT value FROM public.setting_values WHERE key = p_key),
        (SELECT declaration -> 'default' FROM public.extensions
            WHERE (kind = 'parameter' AND name = p_key)
                OR (kind = 'feature' AND 'feature.' || name = p_key))
    )
$$;

REVOKE ALL ON FUNCTION forge_held(timestamptz, timestamptz) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION forge_held(timestamptz, timestamptz) TO forge_app;
GRANT SELECT, INSERT ON reviews, sign_offs, proposal_targets TO forge_app;
GRANT UPDATE ON reviews TO forge_app;
GRANT SELECT, INSERT, UPDATE, DELETE ON execution_windows, joint_actions, extensions, modules,
    accounts, holdings, holdings_reports, outbox
TO forge_app;
