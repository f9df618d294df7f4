"""What a house's rows say about enforcement, read in the terms of ``commonwealth``."""

from __future__ import annotations


def _hour(column: str) -> str:
    """SQL for the hour of the model's clock that a time lies in."""
    since = "(SELECT founded_at FROM instance)"
    return f"floor(extract(epoch FROM {column} - {since}) / 3600)::integer"


PENDING = """
    SELECT count(*) FROM commands WHERE command_id = ANY(%s::uuid[]) AND state = 'pending'
"""
CLOSING = """
    SELECT EXISTS (SELECT FROM jobs WHERE kind = 'proposals.close' AND state = 'pending')
"""
ANSWERS = """
    SELECT state, code, result FROM commands JOIN unnest(%s::uuid[]) WITH ORDINALITY AS given
        (command_id, place) USING (command_id) ORDER BY place
"""
PROPOSALS = f"""
    SELECT id, jsonb_build_object(
            'status', status,
            'failure', failure,
            'lapses', CASE WHEN status IN ('draft', 'approved') THEN {_hour("lapses_at")} END,
            'closes', {_hour("closes_at")},
            'eta', {_hour("eta")},
            'expires', {_hour("expires_at")},
            'terms', terms
        ),
        CASE WHEN opened_at IS NOT NULL THEN (opened_at, closes_at, terms, weights,
            eligible_weight, eligible_members, electorate_version, payload_hash)::text END,
        CASE WHEN eta IS NOT NULL THEN (eta, expires_at)::text END,
        proposal::text
    FROM proposals AS proposal
"""
CHANGED = f"""
    SELECT jsonb_build_object(
        'levels', (SELECT jsonb_object_agg(id, level) FROM members),
        'values', (SELECT coalesce(jsonb_object_agg(key, jsonb_build_array(value, proposal_id)),
            '{{}}') FROM setting_values WHERE key <> 'feature.fiat_unlock'),
        'policies', (SELECT coalesce(jsonb_agg(proposal_id), '[]') FROM policies),
        'windows', (SELECT coalesce(jsonb_object_agg(id, jsonb_build_array(kind,
            {_hour("from_at")}, {_hour("until_at")})), '{{}}') FROM execution_windows),
        'joints', (SELECT coalesce(jsonb_object_agg(id, status), '{{}}') FROM joint_actions),
        'effects', (SELECT coalesce(jsonb_agg(jsonb_build_array(proposal_id, action, direction,
            target)), '[]') FROM effects),
        'outbox', (SELECT coalesce(jsonb_agg(jsonb_build_array(proposal_id, action, direction)),
            '[]') FROM outbox),
        'reviews', (SELECT coalesce(jsonb_agg(jsonb_build_array(proposal_id, member_id, approves,
            weight::text)), '[]') FROM reviews),
        'sign_offs', (SELECT coalesce(jsonb_agg(jsonb_build_array(proposal_id, member_id)), '[]')
            FROM sign_offs)
    )
"""
MEMBERS_COUNTED = """
    SELECT (core, trusted, standard, sandbox, quarantine) = (
        SELECT count(*) FILTER (WHERE level = 'CORE'), count(*) FILTER (WHERE level = 'TRUSTED'),
            count(*) FILTER (WHERE level = 'STANDARD'), count(*) FILTER (WHERE level = 'SANDBOX'),
            count(*) FILTER (WHERE level = 'QUARANTINE')
        FROM members
    ) FROM electorate
"""
THROUGH_EVERY_GATE = """
    WITH executed AS (
        SELECT *, coalesce(
            (SELECT min(applied_at) FROM effects WHERE proposal_id = id AND direction = 'apply'),
            ended_at
        ) AS at,
            eta - make_interval(hours => (terms ->> 'timelock_hours')::integer) AS queued_at
        FROM proposals WHERE id = ANY(%s)
    ), standing AS (
        SELECT DISTINCT ON (executed.id, member_id) executed.id AS proposal_id, member_id, level
        FROM executed JOIN member_levels ON changed_at <= queued_at
        ORDER BY executed.id, member_id, version DESC
    ), yes_voter AS (
        SELECT proposal_id, member_id
        FROM effective_ballots JOIN executed ON proposal_id = id
            JOIN standing USING (proposal_id, member_id)
        WHERE choice = 'for' AND weight > 0 AND level <> 'QUARANTINE' AND NOT EXISTS (
            SELECT FROM jsonb_array_elements(decision -> 'set_aside' -> 'ballots') AS aside
            WHERE aside ->> 'member' = member_id
        )
    )
    SELECT id FROM executed
    WHERE decision ->> 'outcome' = 'approved' AND sha256(payload) = payload_hash
        AND eta <= at AND at < expires_at + forge_held(eta, at)
        AND (terms ->> 'reviewers' IS NULL OR (
            SELECT count(*) >= (executed.terms ->> 'reviewers')::integer
                AND sum(weight) FILTER (WHERE approves)
                    >= (executed.terms ->> 'review_approval')::numeric * sum(weight)
                AND bool_and(member_id <> executed.proposer)
            FROM reviews JOIN standing USING (proposal_id, member_id)
            WHERE proposal_id = id AND level IN ('CORE', 'TRUSTED')
        ))
        AND (terms ->> 'sign_off' IS NULL OR (
            SELECT count(*) FROM sign_offs JOIN yes_voter USING (proposal_id, member_id)
            WHERE proposal_id = id
        ) >= greatest(1, ceil((terms ->> 'sign_off')::numeric * (
            SELECT count(*) FROM yes_voter WHERE proposal_id = id
        ))))
        AND (predecessor IS NULL OR EXISTS (
            SELECT FROM proposals AS first WHERE first.id = executed.predecessor
                AND (first.status = 'executed'
                    OR first.status = 'rolled_back' AND first.ended_at > at)
        ))
        AND NOT EXISTS (
            SELECT FROM execution_windows AS held WHERE from_at <= at AND until_at > at
                AND NOT (held.kind = 'pause' AND executed.type IN ('emergency', 'rollback'))
                AND NOT EXISTS (
                    SELECT FROM joint_actions
                    WHERE joint_actions.kind = 'break_glass' AND subject = executed.id
                        AND status = 'done' AND confirmed_at BETWEEN from_at AND at
                )
        )
"""
