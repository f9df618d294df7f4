-- The application reads everything and writes what its folds and jobs write; on the ledger it has
-- only INSERT and SELECT. The client may only execute the submitting and answering functions.
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA public FROM PUBLIC;

GRANT USAGE ON SCHEMA public TO forge_app, forge_client;
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO forge_app;
GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO forge_app;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA public TO forge_app;

REVOKE INSERT, UPDATE, DELETE ON alembic_version, lifecycle_edges FROM forge_app;
REVOKE UPDATE, DELETE ON ledger_entries, ballots, effects, member_levels FROM forge_app;
REVOKE DELETE ON instance, electorate, proposals, tallies, commands, members FROM forge_app;
-- Ballots enter the inbox through forge_accept_ballots() and no other way.
REVOKE INSERT, UPDATE ON ballot_inbox FROM forge_app;

GRANT EXECUTE ON FUNCTION
    forge_now(), forge_accept_ballots(text, json), forge_submit_commands(text, json),
    forge_answers(text, uuid[]), forge_setting(text)
TO forge_client;
