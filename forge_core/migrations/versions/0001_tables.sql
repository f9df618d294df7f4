-- Tables, as the models of each package declare them (a test compares the two).

CREATE SEQUENCE ballot_numbers CACHE 1;

CREATE TABLE ballot_inbox (
    ballot_id BIGINT NOT NULL,
    proposal_id TEXT NOT NULL,
    member_id TEXT NOT NULL,
    choice TEXT NOT NULL,
    weight NUMERIC NOT NULL,
    accepted_at timestamptz NOT NULL,
    issuer TEXT NOT NULL,
    command_id UUID NOT NULL,
    CONSTRAINT ballot_inbox_pkey PRIMARY KEY (ballot_id)
);
CREATE INDEX ballot_inbox_proposal_ix ON ballot_inbox (proposal_id, ballot_id);

CREATE TABLE ballots (
    ballot_id BIGINT NOT NULL,
    proposal_id TEXT NOT NULL,
    member_id TEXT NOT NULL,
    choice TEXT NOT NULL,
    weight NUMERIC NOT NULL,
    accepted_at timestamptz NOT NULL,
    issuer TEXT NOT NULL,
    command_id UUID NOT NULL,
    counted BOOLEAN NOT NULL,
    CONSTRAINT ballots_pkey PRIMARY KEY (ballot_id),
    CONSTRAINT ballots_choice_check CHECK (choice IN ('for', 'against', 'abstain')),
    CONSTRAINT ballots_weight_check CHECK (weight >= 0)
);
CREATE INDEX ballots_voter_ix ON ballots (proposal_id, member_id, ballot_id);

CREATE TABLE commands (
    issuer TEXT NOT NULL,
    command_id UUID NOT NULL,
    content_hash BYTEA NOT NULL,
    accepted_at timestamptz NOT NULL,
    ballot_id BIGINT,
    job_id BIGINT,
    state TEXT NOT NULL,
    code TEXT,
    message TEXT,
    result JSONB,
    CONSTRAINT commands_pkey PRIMARY KEY (issuer, command_id),
    CONSTRAINT commands_content_hash_check CHECK (octet_length(content_hash) = 32)
);

CREATE TABLE dead_letters (
    id BIGINT GENERATED ALWAYS AS IDENTITY,
    received_at timestamptz DEFAULT clock_timestamp() NOT NULL,
    queue TEXT NOT NULL,
    reason TEXT NOT NULL,
    headers TEXT NOT NULL,
    body TEXT NOT NULL,
    CONSTRAINT dead_letters_pkey PRIMARY KEY (id)
);

CREATE TABLE effective_ballots (
    proposal_id TEXT NOT NULL,
    member_id TEXT NOT NULL,
    ballot_id BIGINT NOT NULL,
    choice TEXT NOT NULL,
    weight NUMERIC NOT NULL,
    CONSTRAINT effective_ballots_pkey PRIMARY KEY (proposal_id, member_id),
    CONSTRAINT effective_ballots_choice_check CHECK (choice IN ('for', 'against', 'abstain'))
) WITH (fillfactor = 90);

CREATE TABLE effects (
    proposal_id TEXT NOT NULL,
    action INTEGER NOT NULL,
    direction TEXT NOT NULL,
    applied_at timestamptz NOT NULL,
    CONSTRAINT effects_pkey PRIMARY KEY (proposal_id, action, direction),
    CONSTRAINT effects_direction_check CHECK (direction IN ('apply', 'undo'))
);

CREATE TABLE electorate (
    id SMALLINT NOT NULL,
    version BIGINT NOT NULL,
    core BIGINT NOT NULL,
    trusted BIGINT NOT NULL,
    standard BIGINT NOT NULL,
    sandbox BIGINT NOT NULL,
    quarantine BIGINT NOT NULL,
    CONSTRAINT electorate_pkey PRIMARY KEY (id),
    CONSTRAINT electorate_single_check CHECK (id = 1),
    CONSTRAINT electorate_counts_check CHECK (core >= 0 AND trusted >= 0 AND standard >= 0 AND sandbox >= 0 AND quarantine >= 0)
);

CREATE TABLE imported_electorates (
    id TEXT NOT NULL,
    members BIGINT NOT NULL,
    weight NUMERIC NOT NULL,
    sealed_at timestamptz,
    digest TEXT,
    CONSTRAINT imported_electorates_pkey PRIMARY KEY (id)
);

CREATE TABLE imported_weights (
    electorate_id TEXT NOT NULL,
    member_id TEXT NOT NULL,
    weight NUMERIC NOT NULL,
    CONSTRAINT imported_weights_pkey PRIMARY KEY (electorate_id, member_id),
    CONSTRAINT imported_weights_weight_check CHECK (weight >= 0)
);

CREATE TABLE instance (
    id SMALLINT NOT NULL,
    sandbox BOOLEAN NOT NULL,
    founded_at timestamptz NOT NULL,
    clock_offset INTERVAL NOT NULL,
    CONSTRAINT instance_pkey PRIMARY KEY (id),
    CONSTRAINT instance_single_check CHECK (id = 1),
    CONSTRAINT instance_production_clock_check CHECK (sandbox OR clock_offset = INTERVAL '0'),
    CONSTRAINT instance_clock_moves_forward_check CHECK (clock_offset >= INTERVAL '0')
);

CREATE TABLE jobs (
    id BIGINT GENERATED ALWAYS AS IDENTITY,
    kind TEXT NOT NULL,
    key TEXT NOT NULL,
    once BOOLEAN NOT NULL,
    payload JSONB NOT NULL,
    actor TEXT NOT NULL,
    issuer TEXT,
    command_id UUID,
    state TEXT DEFAULT 'pending' NOT NULL,
    attempt INTEGER DEFAULT '0' NOT NULL,
    forgiven INTEGER DEFAULT '0' NOT NULL,
    not_before timestamptz DEFAULT clock_timestamp() NOT NULL,
    lease_until timestamptz,
    created_at timestamptz DEFAULT clock_timestamp() NOT NULL,
    finished_at timestamptz,
    result JSONB,
    code TEXT,
    message TEXT,
    CONSTRAINT jobs_pkey PRIMARY KEY (id),
    CONSTRAINT jobs_state_check CHECK (state IN ('pending', 'running', 'done', 'refused', 'failed', 'dead', 'superseded')),
    CONSTRAINT jobs_lease_check CHECK ((state = 'running') = (lease_until IS NOT NULL))
);
CREATE INDEX jobs_claimable_ix ON jobs (kind, id) WHERE state = 'pending';
CREATE UNIQUE INDEX jobs_coalesce_key ON jobs (key) WHERE NOT once AND state = 'pending';
CREATE INDEX jobs_dead_ix ON jobs (key) WHERE state = 'dead';
CREATE INDEX jobs_finished_ix ON jobs (finished_at) WHERE finished_at IS NOT NULL;
CREATE UNIQUE INDEX jobs_once_key ON jobs (key) WHERE once;
CREATE INDEX jobs_running_ix ON jobs (lease_until) WHERE state = 'running';

CREATE TABLE ledger_entries (
    id BIGINT GENERATED ALWAYS AS IDENTITY,
    kind TEXT NOT NULL,
    subject TEXT NOT NULL,
    body BYTEA NOT NULL,
    leaf_hash BYTEA NOT NULL,
    CONSTRAINT ledger_entries_pkey PRIMARY KEY (id),
    CONSTRAINT ledger_entries_leaf_hash_check CHECK (octet_length(leaf_hash) = 32)
);
CREATE INDEX ledger_entries_subject_ix ON ledger_entries (subject, id) WHERE kind <> 'ballot.counted';

CREATE TABLE lifecycle_edges (
    from_status TEXT NOT NULL,
    to_status TEXT NOT NULL,
    CONSTRAINT lifecycle_edges_pkey PRIMARY KEY (from_status, to_status)
);

CREATE TABLE members (
    id TEXT NOT NULL,
    level TEXT NOT NULL,
    active BOOLEAN NOT NULL,
    admitted_at timestamptz NOT NULL,
    version BIGINT NOT NULL,
    CONSTRAINT members_pkey PRIMARY KEY (id),
    CONSTRAINT members_level_check CHECK (level IN ('CORE', 'TRUSTED', 'STANDARD', 'SANDBOX', 'QUARANTINE'))
);
CREATE INDEX members_quarantine_ix ON members (id) WHERE level = 'QUARANTINE';

CREATE TABLE named_locks (
    name TEXT NOT NULL,
    CONSTRAINT named_locks_pkey PRIMARY KEY (name)
);

CREATE TABLE overlays (
    id TEXT NOT NULL,
    name TEXT NOT NULL,
    version TEXT NOT NULL,
    status TEXT NOT NULL,
    description TEXT,
    max_execution_ms BIGINT,
    registered_by TEXT NOT NULL,
    proposal_id TEXT NOT NULL,
    changed_at timestamptz NOT NULL,
    CONSTRAINT overlays_pkey PRIMARY KEY (id),
    CONSTRAINT overlays_status_check CHECK (status IN ('ACTIVE'))
);

CREATE TABLE policies (
    proposal_id TEXT NOT NULL,
    title TEXT NOT NULL,
    text TEXT NOT NULL,
    adopted_at timestamptz NOT NULL,
    CONSTRAINT policies_pkey PRIMARY KEY (proposal_id)
);

CREATE TABLE proposals (
    id TEXT NOT NULL,
    type TEXT NOT NULL,
    status TEXT NOT NULL,
    proposer TEXT NOT NULL,
    title TEXT NOT NULL,
    description TEXT NOT NULL,
    reason TEXT,
    payload BYTEA NOT NULL,
    payload_hash BYTEA NOT NULL,
    track TEXT NOT NULL,
    voting_hours INTEGER NOT NULL,
    electorate TEXT,
    created_at timestamptz NOT NULL,
    lapses_at timestamptz,
    opened_at timestamptz,
    closes_at timestamptz,
    electorate_version BIGINT,
    eligible_weight NUMERIC,
    eligible_members BIGINT,
    weights JSONB,
    terms JSONB,
    decided_at timestamptz,
    decision JSONB,
    eta timestamptz,
    expires_at timestamptz,
    queued_count INTEGER DEFAULT '0' NOT NULL,
    ended_at timestamptz,
    failure TEXT,
    end_reason TEXT,
    CONSTRAINT proposals_pkey PRIMARY KEY (id),
    CONSTRAINT proposals_status_check CHECK (status IN ('draft', 'active', 'approved', 'rejected', 'queued', 'executed', 'failed', 'cancelled', 'expired', 'rolled_back')),
    CONSTRAINT proposals_payload_hash_check CHECK (octet_length(payload_hash) = 32),
    CONSTRAINT proposals_opened_check CHECK ((status IN ('draft', 'cancelled', 'expired')) OR (opened_at IS NOT NULL AND closes_at IS NOT NULL AND terms IS NOT NULL AND eligible_weight IS NOT NULL)),
    CONSTRAINT proposals_voting_period_check CHECK (closes_at > opened_at),
    CONSTRAINT proposals_eta_check CHECK (status NOT IN ('queued', 'executed', 'rolled_back') OR eta IS NOT NULL),
    CONSTRAINT proposals_grace_check CHECK (expires_at > eta),
    CONSTRAINT proposals_lapse_check CHECK (status NOT IN ('draft', 'approved') OR lapses_at IS NOT NULL)
);
CREATE INDEX proposals_due_ix ON proposals (closes_at, id) WHERE status = 'active';
CREATE INDEX proposals_eta_ix ON proposals (eta, id) WHERE status = 'queued';
CREATE INDEX proposals_grace_ix ON proposals (expires_at, id) WHERE status = 'queued';
CREATE INDEX proposals_lapse_ix ON proposals (lapses_at, id) WHERE status IN ('draft', 'approved');

CREATE TABLE setting_values (
    key TEXT NOT NULL,
    value JSONB NOT NULL,
    version BIGINT NOT NULL,
    proposal_id TEXT NOT NULL,
    changed_at timestamptz NOT NULL,
    CONSTRAINT setting_values_pkey PRIMARY KEY (key)
);

CREATE TABLE tallies (
    proposal_id TEXT NOT NULL,
    for_weight NUMERIC DEFAULT '0' NOT NULL,
    against_weight NUMERIC DEFAULT '0' NOT NULL,
    abstain_weight NUMERIC DEFAULT '0' NOT NULL,
    for_ballots BIGINT DEFAULT '0' NOT NULL,
    against_ballots BIGINT DEFAULT '0' NOT NULL,
    abstain_ballots BIGINT DEFAULT '0' NOT NULL,
    revotes BIGINT DEFAULT '0' NOT NULL,
    CONSTRAINT tallies_pkey PRIMARY KEY (proposal_id),
    CONSTRAINT tallies_weights_check CHECK (for_weight >= 0 AND against_weight >= 0 AND abstain_weight >= 0)
) WITH (fillfactor = 50);
CREATE INDEX tallies_revotes_ix ON tallies (proposal_id) WHERE revotes > 0;

CREATE TABLE recounts (
    proposal_id TEXT NOT NULL,
    revotes BIGINT NOT NULL,
    recounted_at timestamptz NOT NULL,
    corrections BIGINT DEFAULT '0' NOT NULL,
    CONSTRAINT recounts_pkey PRIMARY KEY (proposal_id)
);

CREATE TABLE texts (
    commitment TEXT NOT NULL,
    salt BYTEA NOT NULL,
    body TEXT NOT NULL,
    CONSTRAINT texts_pkey PRIMARY KEY (commitment)
);

CREATE TABLE delegations (
    delegator TEXT NOT NULL,
    scope TEXT NOT NULL,
    from_version BIGINT NOT NULL,
    until_version BIGINT,
    delegate TEXT NOT NULL,
    expires_at timestamptz,
    CONSTRAINT delegations_pkey PRIMARY KEY (delegator, scope, from_version),
    CONSTRAINT delegations_no_self_check CHECK (delegator <> delegate),
    CONSTRAINT delegations_versions_check CHECK (until_version > from_version),
    CONSTRAINT delegations_delegator_fkey FOREIGN KEY(delegator) REFERENCES members (id),
    CONSTRAINT delegations_delegate_fkey FOREIGN KEY(delegate) REFERENCES members (id)
);
CREATE INDEX delegations_delegate_ix ON delegations (delegate);
CREATE UNIQUE INDEX delegations_open_key ON delegations (delegator, scope) WHERE until_version IS NULL;

CREATE TABLE member_levels (
    member_id TEXT NOT NULL,
    version BIGINT NOT NULL,
    level TEXT NOT NULL,
    active BOOLEAN NOT NULL,
    changed_at timestamptz NOT NULL,
    cause TEXT NOT NULL,
    CONSTRAINT member_levels_pkey PRIMARY KEY (member_id, version),
    CONSTRAINT member_levels_level_check CHECK (level IN ('CORE', 'TRUSTED', 'STANDARD', 'SANDBOX', 'QUARANTINE')),
    CONSTRAINT member_levels_member_id_fkey FOREIGN KEY(member_id) REFERENCES members (id)
);

CREATE TABLE member_roles (
    member_id TEXT NOT NULL,
    role TEXT NOT NULL,
    CONSTRAINT member_roles_pkey PRIMARY KEY (member_id, role),
    CONSTRAINT member_roles_role_check CHECK (role IN ('admin', 'guardian', 'reviewer', 'operator')),
    CONSTRAINT member_roles_member_id_fkey FOREIGN KEY(member_id) REFERENCES members (id)
);

CREATE TABLE restrictions (
    member_id TEXT NOT NULL,
    imposed_at timestamptz NOT NULL,
    until timestamptz NOT NULL,
    imposed_by TEXT NOT NULL,
    reason TEXT NOT NULL,
    CONSTRAINT restrictions_pkey PRIMARY KEY (member_id),
    CONSTRAINT restrictions_until_check CHECK (until > imposed_at),
    CONSTRAINT restrictions_member_id_fkey FOREIGN KEY(member_id) REFERENCES members (id)
);

-- Rows pass through the inbox in seconds: vacuum by count, not by share of the table.
ALTER TABLE ballot_inbox SET (
    autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000,
    autovacuum_analyze_scale_factor = 0, autovacuum_analyze_threshold = 20000,
    autovacuum_vacuum_cost_delay = 0
);
ALTER TABLE jobs SET (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 0);
ALTER TABLE tallies SET (autovacuum_vacuum_scale_factor = 0.05);

INSERT INTO lifecycle_edges (from_status, to_status) VALUES
    ('active', 'approved'),
    ('active', 'cancelled'),
    ('active', 'rejected'),
    ('approved', 'cancelled'),
    ('approved', 'executed'),
    ('approved', 'expired'),
    ('approved', 'failed'),
    ('approved', 'queued'),
    ('draft', 'active'),
    ('draft', 'cancelled'),
    ('draft', 'expired'),
    ('executed', 'rolled_back'),
    ('failed', 'cancelled'),
    ('failed', 'queued'),
    ('queued', 'cancelled'),
    ('queued', 'executed'),
    ('queued', 'expired'),
    ('queued', 'failed');
