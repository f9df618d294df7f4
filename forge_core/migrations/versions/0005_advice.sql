-- What advisers said of a proposal; the analyses themselves are kept texts.
CREATE TABLE advice (
    proposal_id TEXT NOT NULL,
    number INTEGER NOT NULL,
    at timestamptz NOT NULL,
    source TEXT NOT NULL,
    analyser TEXT NOT NULL,
    constitution TEXT NOT NULL,
    recommendation TEXT NOT NULL,
    confidence NUMERIC NOT NULL,
    analysis TEXT NOT NULL,
    CONSTRAINT advice_pkey PRIMARY KEY (proposal_id, number),
    CONSTRAINT advice_source_check CHECK (source IN ('rules', 'model', 'council', 'fallback')),
    CONSTRAINT advice_recommends_check
        CHECK (recommendation IN ('support', 'oppose', 'revise', 'neutral')),
    CONSTRAINT advice_confidence_check CHECK (confidence BETWEEN 0 AND 1)
);
CREATE INDEX advice_at_ix ON advice (at);

-- Over the texts themselves: what is erased is not found any more. Without stems and stop words,
-- for proposals are written in many languages.
CREATE INDEX texts_words_ix ON texts USING gin (to_tsvector('simple', body));

GRANT SELECT, INSERT, UPDATE, DELETE ON advice TO forge_app;
