-- The immune system: what the runtime tells, what is found in it, and what it is answered with.

-- Events as they were published, for 24 hours, an hour a partition. The time is a part of the key:
-- whoever may publish can choose another id just as well as another time.
CREATE TABLE runtime_events (
    source TEXT NOT NULL,
    id TEXT NOT NULL,
    at timestamptz NOT NULL,
    type TEXT NOT NULL,
    subject_kind TEXT NOT NULL,
    subject TEXT NOT NULL,
    success BOOLEAN,
    slow BOOLEAN DEFAULT false NOT NULL,
    exhausted BOOLEAN DEFAULT false NOT NULL,
    data JSONB NOT NULL,
    recorded_at timestamptz DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT runtime_events_pkey PRIMARY KEY (source, id, at),
    CONSTRAINT runtime_events_subject_kind_check
        CHECK (subject_kind IN ('overlay', 'address', 'member', 'host'))
) PARTITION BY RANGE (at);
CREATE INDEX runtime_events_subject_ix ON runtime_events (subject, subject_kind, at);
CREATE INDEX runtime_events_downloads_ix ON runtime_events (at) WHERE type = 'data.downloaded';

-- Events that no check has looked at yet: what a check takes, it takes away.
CREATE TABLE runtime_unjudged (
    subject_kind TEXT NOT NULL,
    subject TEXT NOT NULL,
    at timestamptz NOT NULL,
    source TEXT NOT NULL,
    id TEXT NOT NULL,
    noted_at timestamptz DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT runtime_unjudged_pkey PRIMARY KEY (subject_kind, subject, at, source, id)
);

-- Summaries by minute, for eight days.
CREATE TABLE overlay_minutes (
    overlay TEXT NOT NULL,
    minute timestamptz NOT NULL,
    calls BIGINT NOT NULL,
    failed BIGINT NOT NULL,
    slow BIGINT NOT NULL,
    exhausted BIGINT NOT NULL,
    excused BIGINT NOT NULL,
    milliseconds BIGINT NOT NULL,
    CONSTRAINT overlay_minutes_pkey PRIMARY KEY (overlay, minute)
);
CREATE INDEX overlay_minutes_minute_ix ON overlay_minutes (minute);

CREATE TABLE address_minutes (
    address TEXT NOT NULL,
    minute timestamptz NOT NULL,
    attempts BIGINT NOT NULL,
    failed BIGINT NOT NULL,
    CONSTRAINT address_minutes_pkey PRIMARY KEY (address, minute)
);
CREATE INDEX address_minutes_minute_ix ON address_minutes (minute);

CREATE TABLE member_minutes (
    member TEXT NOT NULL,
    minute timestamptz NOT NULL,
    allowed BIGINT NOT NULL,
    used BIGINT NOT NULL,
    refused BIGINT NOT NULL,
    CONSTRAINT member_minutes_pkey PRIMARY KEY (member, minute)
);
CREATE INDEX member_minutes_minute_ix ON member_minutes (minute);

-- Shares in thousandths.
CREATE TABLE host_minutes (
    host TEXT NOT NULL,
    minute timestamptz NOT NULL,
    memory BIGINT NOT NULL,
    disk BIGINT NOT NULL,
    queue_depth BIGINT NOT NULL,
    connections BIGINT NOT NULL,
    CONSTRAINT host_minutes_pkey PRIMARY KEY (host, minute)
);
CREATE INDEX host_minutes_minute_ix ON host_minutes (minute);

-- Different items a member downloaded in each hour that is over.
CREATE TABLE download_hours (
    member TEXT NOT NULL,
    hour timestamptz NOT NULL,
    items BIGINT NOT NULL,
    CONSTRAINT download_hours_pkey PRIMARY KEY (member, hour)
);
CREATE INDEX download_hours_hour_ix ON download_hours (hour);

-- How long an overlay's calls usually take, in milliseconds.
CREATE TABLE overlay_baselines (
    overlay TEXT NOT NULL,
    usual_ms BIGINT NOT NULL,
    calls_a_minute NUMERIC NOT NULL,
    measured_at timestamptz NOT NULL,
    CONSTRAINT overlay_baselines_pkey PRIMARY KEY (overlay)
);

-- Which commitment stands for an address in entries; an erased text takes it along.
CREATE TABLE known_addresses (
    address TEXT NOT NULL,
    commitment TEXT NOT NULL,
    CONSTRAINT known_addresses_pkey PRIMARY KEY (address),
    CONSTRAINT known_addresses_commitment_key UNIQUE (commitment),
    CONSTRAINT known_addresses_commitment_fkey FOREIGN KEY (commitment)
        REFERENCES texts (commitment) ON DELETE CASCADE
);

-- What was answered to findings, and what people did; leases, each with its evidence.
CREATE TABLE immune_responses (
    id TEXT NOT NULL,
    subject_kind TEXT NOT NULL,
    subject TEXT NOT NULL,
    rung TEXT NOT NULL,
    rule TEXT,
    evidence JSONB,
    why TEXT,
    reason TEXT,
    imposed_by TEXT NOT NULL,
    began_at timestamptz NOT NULL,
    until_at timestamptz,
    ended_at timestamptz,
    ended_by TEXT,
    CONSTRAINT immune_responses_pkey PRIMARY KEY (id),
    CONSTRAINT immune_responses_rung_check CHECK (rung IN
        ('observe', 'warn', 'throttle', 'restrict', 'block', 'quarantine', 'hold')),
    CONSTRAINT immune_responses_evidence_check CHECK ((rule IS NULL) = (evidence IS NULL))
);
CREATE INDEX immune_responses_subject_ix ON immune_responses (subject, subject_kind, began_at);
CREATE INDEX immune_responses_open_ix ON immune_responses (rung, until_at)
    WHERE ended_at IS NULL;

-- Where an overlay stands; those that never failed have no row.
CREATE TABLE containments (
    overlay TEXT NOT NULL,
    stage TEXT NOT NULL,
    since timestamptz NOT NULL,
    until_at timestamptz,
    doublings INTEGER NOT NULL,
    failed_probations INTEGER NOT NULL,
    response_id TEXT NOT NULL,
    CONSTRAINT containments_pkey PRIMARY KEY (overlay),
    CONSTRAINT containments_stage_check
        CHECK (stage IN ('active', 'quarantined', 'probation', 'held')),
    CONSTRAINT containments_until_check CHECK ((stage = 'quarantined') = (until_at IS NOT NULL))
);
CREATE INDEX containments_stage_ix ON containments (stage) WHERE stage <> 'active';

-- What the immune system would do and may not do alone: two people confirm it, or it lapses.
CREATE TABLE immune_actions (
    id TEXT NOT NULL,
    subject_kind TEXT NOT NULL,
    subject TEXT NOT NULL,
    rung TEXT NOT NULL,
    response_id TEXT NOT NULL,
    opened_at timestamptz NOT NULL,
    lapses_at timestamptz NOT NULL,
    first_by TEXT,
    first_at timestamptz,
    second_by TEXT,
    second_at timestamptz,
    CONSTRAINT immune_actions_pkey PRIMARY KEY (id),
    CONSTRAINT immune_actions_two_check CHECK (first_by <> second_by)
);
CREATE INDEX immune_actions_subject_ix ON immune_actions (subject, subject_kind);

-- What no single response can mend. While one of them pauses, nothing is done automatically.
CREATE TABLE incidents (
    id TEXT NOT NULL,
    kind TEXT NOT NULL,
    subject TEXT NOT NULL,
    details JSONB NOT NULL,
    reason TEXT,
    opened_by TEXT NOT NULL,
    opened_at timestamptz NOT NULL,
    pauses_until timestamptz,
    closed_at timestamptz,
    closed_by TEXT,
    CONSTRAINT incidents_pkey PRIMARY KEY (id),
    CONSTRAINT incidents_kind_check CHECK (kind IN ('systemic', 'halt', 'health'))
);
CREATE UNIQUE INDEX incidents_open_key ON incidents (kind, subject) WHERE closed_at IS NULL;

-- When somebody was last at work, and what the last look at the house found to be unwell.
CREATE TABLE heartbeats (
    name TEXT NOT NULL,
    at timestamptz NOT NULL,
    unwell JSONB DEFAULT '[]' NOT NULL,
    CONSTRAINT heartbeats_pkey PRIMARY KEY (name)
);

ALTER TABLE overlays
    DROP CONSTRAINT overlays_status_check,
    ADD CONSTRAINT overlays_status_check CHECK (status IN ('ACTIVE', 'RETIRED')),
    ADD COLUMN max_fuel BIGINT,
    ADD COLUMN max_memory BIGINT,
    ADD COLUMN provides JSONB DEFAULT '[]' NOT NULL;

-- Rows of which there are many, and which nobody asks about later.
ALTER TABLE jobs ADD COLUMN brief BOOLEAN DEFAULT false NOT NULL;
CREATE INDEX jobs_brief_ix ON jobs (finished_at) WHERE brief AND finished_at IS NOT NULL;

-- Whoever drew the greater number looked later (see forge_workers.leases).
CREATE SEQUENCE immune_mirror;
-- Windows kept elsewhere begin anew with every number (see forge_workers.windows).
CREATE SEQUENCE immune_windows;

-- The partitions of the hours around now; those that are over for a day go with what is in them.
-- A partition is attached, which readers and writers do not notice; one that somebody reads stays
-- until the next time.
CREATE FUNCTION forge_roll_events() RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp
    SET lock_timeout = '1s'
AS $$
DECLARE
    this_hour timestamptz := date_trunc('hour', clock_timestamp(), 'UTC');
    hour timestamptz;
    name text;
BEGIN
    INSERT INTO public.named_locks VALUES ('runtime_events') ON CONFLICT DO NOTHING;
    PERFORM FROM public.named_locks WHERE named_locks.name = 'runtime_events' FOR UPDATE;
    FOR hour IN SELECT generate_series(
        this_hour - INTERVAL '24 hours', this_hour + INTERVAL '2 hours', INTERVAL '1 hour')
    LOOP
        name := 'runtime_events_' || to_char(hour AT TIME ZONE 'UTC', 'YYYYMMDDHH24');
        CONTINUE WHEN to_regclass('public.' || name) IS NOT NULL;
        EXECUTE format('CREATE TABLE public.%I (LIKE public.runtime_events INCLUDING ALL)', name);
        EXECUTE format(
            'ALTER TABLE public.runtime_events ATTACH PARTITION public.%I'
            ' FOR VALUES FROM (%L) TO (%L)', name, hour, hour + INTERVAL '1 hour');
    END LOOP;
    FOR name IN
        SELECT relname FROM pg_class JOIN pg_inherits ON inhrelid = pg_class.oid
        WHERE inhparent = 'public.runtime_events'::regclass
            AND relname < 'runtime_events_' || to_char(
                (this_hour - INTERVAL '24 hours') AT TIME ZONE 'UTC', 'YYYYMMDDHH24')
    LOOP
        BEGIN
            EXECUTE format('DROP TABLE public.%I', name);
        EXCEPTION WHEN lock_not_available THEN
            NULL;
        END;
    END LOOP;
END
$$;

-- What the platform may ask about, as it stands; only what is not simply allowed.
CREATE FUNCTION forge_leases() RETURNS TABLE (
    kind text, subject text, verdict text, until_at timestamptz, since timestamptz
)
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp
AS $$
    SELECT 'address', known.address, 'blocked', max(response.until_at), min(response.began_at)
    FROM public.immune_responses AS response
    JOIN public.known_addresses AS known ON known.commitment = response.subject
    WHERE response.rung = 'block' AND response.ended_at IS NULL
        AND response.until_at > clock_timestamp()
    GROUP BY known.address
    UNION ALL
    SELECT 'overlay', overlays.id, 'retired', NULL::timestamptz, changed_at
    FROM public.overlays WHERE status = 'RETIRED'
    UNION ALL
    SELECT 'overlay', overlay, stage, NULL, since
    FROM public.containments
    WHERE stage <> 'active' AND NOT EXISTS (
        SELECT FROM public.overlays WHERE id = overlay AND status = 'RETIRED'
    )
    UNION ALL
    SELECT 'overlay', response.subject, 'throttled', max(response.until_at),
        min(response.began_at)
    FROM public.immune_responses AS response
    WHERE response.rung = 'throttle' AND response.ended_at IS NULL
        AND response.until_at > clock_timestamp()
        AND NOT EXISTS (
            SELECT FROM public.containments
            WHERE overlay = response.subject AND stage <> 'active'
        )
        AND NOT EXISTS (
            SELECT FROM public.overlays WHERE id = response.subject AND status = 'RETIRED'
        )
    GROUP BY response.subject
    UNION ALL
    SELECT 'member', member_id, 'restricted', restrictions.until, imposed_at
    FROM public.restrictions WHERE restrictions.until > clock_timestamp()
$$;

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
            'immune.quarantine', 'immune.hold', 'immune.release', 'immune.block', 'immune.unblock',
            'immune.confirm', 'immune.halt', 'immune.resume',
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

REVOKE ALL ON FUNCTION forge_roll_events(), forge_leases() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION forge_roll_events(), forge_leases() TO forge_app;
GRANT EXECUTE ON FUNCTION forge_leases() TO forge_client;
GRANT USAGE, SELECT ON SEQUENCE immune_mirror, immune_windows TO forge_app;
GRANT SELECT, INSERT ON runtime_events TO forge_app;
GRANT SELECT, INSERT, UPDATE, DELETE ON runtime_unjudged, overlay_minutes, address_minutes,
    member_minutes, host_minutes, download_hours, overlay_baselines, known_addresses,
    immune_responses, containments, immune_actions, incidents, heartbeats
TO forge_app;
