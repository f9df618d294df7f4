-- What Python refuses, the database refuses too.

-- The ledger and the ballot history only grow. ENABLE ALWAYS: ordinary triggers are skipped under
-- session_replication_role = replica.
CREATE FUNCTION forge_refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is append-only', TG_TABLE_NAME USING ERRCODE = 'restrict_violation';
END
$$;

CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON ledger_entries
    FOR EACH ROW EXECUTE FUNCTION forge_refuse_change();
CREATE TRIGGER no_truncate BEFORE TRUNCATE ON ledger_entries
    FOR EACH STATEMENT EXECUTE FUNCTION forge_refuse_change();
ALTER TABLE ledger_entries ENABLE ALWAYS TRIGGER append_only;
ALTER TABLE ledger_entries ENABLE ALWAYS TRIGGER no_truncate;

CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON ballots
    FOR EACH ROW EXECUTE FUNCTION forge_refuse_change();
ALTER TABLE ballots ENABLE ALWAYS TRIGGER append_only;

-- Only the edges of lifecycle_edges; nothing about a final proposal ever changes; what was
-- proposed is what is voted on is what is executed.
CREATE FUNCTION forge_guard_lifecycle() RETURNS trigger LANGUAGE plpgsql AS $$
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
            NEW.payload_hash, NEW.track, NEW.voting_hours, NEW.electorate, NEW.created_at)
        IS DISTINCT FROM
       (OLD.id, OLD.type, OLD.proposer, OLD.title, OLD.description, OLD.reason, OLD.payload,
            OLD.payload_hash, OLD.track, OLD.voting_hours, OLD.electorate, OLD.created_at)
    THEN
        RAISE EXCEPTION 'the content of proposal % cannot change', OLD.id
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

CREATE TRIGGER lifecycle BEFORE INSERT OR UPDATE OR DELETE ON proposals
    FOR EACH ROW EXECUTE FUNCTION forge_guard_lifecycle();

CREATE FUNCTION forge_guard_clock() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.sandbox <> OLD.sandbox OR NEW.clock_offset < OLD.clock_offset THEN
        RAISE EXCEPTION 'an instance stays what it was founded as, and its clock moves forward'
            USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END
$$;

CREATE TRIGGER clock BEFORE UPDATE ON instance
    FOR EACH ROW EXECUTE FUNCTION forge_guard_clock();
