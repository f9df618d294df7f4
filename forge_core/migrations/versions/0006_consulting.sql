-- Models are asked: what they were shown, and what it cost.
ALTER TABLE advice ADD COLUMN input TEXT;
CREATE INDEX advice_input_ix ON advice (input) WHERE input IS NOT NULL;

CREATE TABLE consultations (
    id BIGINT GENERATED ALWAYS AS IDENTITY,
    proposal_id TEXT NOT NULL,
    model TEXT NOT NULL,
    started_at timestamptz NOT NULL,
    until timestamptz NOT NULL,
    tokens BIGINT NOT NULL,
    ended_at timestamptz,
    calls INTEGER,
    input_tokens BIGINT,
    output_tokens BIGINT,
    cache_read_tokens BIGINT,
    cache_written_tokens BIGINT,
    latency_ms BIGINT,
    failure TEXT,
    outage BOOLEAN,
    CONSTRAINT consultations_pkey PRIMARY KEY (id),
    CONSTRAINT consultations_tokens_check CHECK (tokens >= 0),
    CONSTRAINT consultations_ended_check CHECK ((ended_at IS NULL) = (outage IS NULL))
);
CREATE INDEX consultations_started_at_ix ON consultations (started_at);
CREATE INDEX consultations_ended_at_ix ON consultations (ended_at);

GRANT SELECT, INSERT, UPDATE, DELETE ON consultations TO forge_app;
