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
    batch BIGINT,
    input TEXT,
    CONSTRAINT consultations_pkey PRIMARY KEY (id),
    CONSTRAINT consultations_tokens_check CHECK (tokens >= 0),
    CONSTRAINT consultations_ended_check CHECK ((ended_at IS NULL) = (outage IS NULL))
);
CREATE INDEX consultations_started_at_ix ON consultations (started_at);
CREATE INDEX consultations_ended_at_ix ON consultations (ended_at);
CREATE INDEX consultations_batch_ix ON consultations (batch) WHERE batch IS NOT NULL;

-- Of a batch that is under way at the service.
CREATE TABLE advice_batches (
    job BIGINT NOT NULL,
    service_id TEXT,
    nonce TEXT NOT NULL,
    canary TEXT NOT NULL,
    started_at timestamptz NOT NULL,
    CONSTRAINT advice_batches_pkey PRIMARY KEY (job)
);

GRANT SELECT, INSERT, UPDATE, DELETE ON consultations, advice_batches TO forge_app;

-- What earlier proposals are found by: of proposals alone, and worked out once. An index over all
-- kept texts read every analysis too, and each of its readers worked the words out again.
DROP INDEX texts_words_ix;
CREATE TABLE proposal_words (
    proposal_id TEXT NOT NULL,
    title TEXT NOT NULL,
    description TEXT NOT NULL,
    words tsvector NOT NULL,
    CONSTRAINT proposal_words_pkey PRIMARY KEY (proposal_id),
    CONSTRAINT proposal_words_title_fkey
        FOREIGN KEY (title) REFERENCES texts (commitment) ON DELETE CASCADE,
    CONSTRAINT proposal_words_description_fkey
        FOREIGN KEY (description) REFERENCES texts (commitment) ON DELETE CASCADE
);
-- Both are asked for when a text is erased.
CREATE INDEX proposal_words_title_ix ON proposal_words (title);
CREATE INDEX proposal_words_description_ix ON proposal_words (description);
CREATE INDEX proposal_words_words_ix ON proposal_words USING gin (words);
INSERT INTO proposal_words (proposal_id, title, description, words)
SELECT id, proposals.title, proposals.description,
    to_tsvector('simple', title.body || ' ' || description.body)
FROM proposals
JOIN texts AS title ON title.commitment = proposals.title
JOIN texts AS description ON description.commitment = proposals.description
WHERE opened_at IS NOT NULL;

GRANT SELECT, INSERT, UPDATE, DELETE ON proposal_words TO forge_app;
