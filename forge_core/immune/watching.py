"""What no single event shows: peers, silence, crowds. Looked at once a minute."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from fractions import Fraction
from typing import Final

from sqlalchemy import text
from sqlalchemy.orm import Session

from forge_core.clock import forge_now
from forge_core.database import run
from forge_core.immune.answering import answer_all
from forge_core.immune.detectors.crowds import Cast, judge_burst, judge_new_accounts
from forge_core.immune.detectors.finding import Finding, RuleTerms
from forge_core.immune.detectors.overlay_life import judge_peers, judge_silence
from forge_core.immune.responses import real_now
from forge_core.immune.settings import in_force

MINUTE: Final = timedelta(minutes=1)
PEERS: Final = timedelta(minutes=10)
CROWDS: Final = timedelta(hours=1)
BALLOTS_MOST: Final = 10_000

_CALLS = text("""
    SELECT overlay, sum(calls)::bigint AS calls, sum(failed)::bigint AS failed
    FROM overlay_minutes WHERE minute >= :since GROUP BY overlay
""")
# Where nothing at all is heard, no overlay is silent: the runtime or what carries its events is.
_SILENT = text("""
    SELECT baseline.overlay, baseline.calls_a_minute, last.minute
    FROM overlay_baselines AS baseline
    JOIN overlays ON overlays.id = baseline.overlay AND status = 'ACTIVE'
    LEFT JOIN containments ON containments.overlay = baseline.overlay
    JOIN LATERAL (
        SELECT minute FROM overlay_minutes
        WHERE overlay_minutes.overlay = baseline.overlay ORDER BY minute DESC LIMIT 1
    ) AS last ON last.minute < :now - INTERVAL '2 minutes'
    WHERE coalesce(stage, 'active') = 'active'
        AND coalesce((
            SELECT type FROM runtime_events
            WHERE subject = baseline.overlay AND subject_kind = 'overlay'
                AND type IN ('overlay.activated', 'overlay.stopped')
            ORDER BY at DESC LIMIT 1
        ), '') <> 'overlay.stopped'
        AND EXISTS (SELECT FROM overlay_minutes WHERE minute >= :now - INTERVAL '2 minutes')
    ORDER BY baseline.overlay
""")
# The newest ballots of all; a proposal with fewer of late is not what a crowd looks like.
_BALLOTS = text("""
    SELECT proposal_id, accepted_at, choice, admitted_at
    FROM (SELECT * FROM ballots ORDER BY ballot_id DESC LIMIT :most) AS newest
    JOIN members ON members.id = member_id
    WHERE accepted_at >= :since
""")


def watch(session: Session) -> bool:
    """The step of the chore ``immune.watch``. Running it twice is safe: see ``answer_all``."""
    terms = in_force(session).terms
    now = real_now(session)
    findings = [
        *_outliers(session, now, terms),
        *_silent(session, now, terms),
        *_crowds(session, forge_now(session), terms),
    ]
    answer_all(session, findings)
    return False


def _outliers(session: Session, now: datetime, terms: RuleTerms) -> Iterable[Finding]:
    rows = run(session, _CALLS, since=now - PEERS)
    calls = {row.overlay: (row.calls, row.failed) for row in rows}
    return judge_peers(calls, now - PEERS, now, terms)


def _silent(session: Session, now: datetime, terms: RuleTerms) -> Iterable[Finding]:
    for row in run(session, _SILENT, now=now):
        usual = Fraction(row.calls_a_minute)
        found = judge_silence(row.overlay, usual, row.minute + MINUTE, now, terms)
        if found is not None:
            yield found


def _crowds(session: Session, now: datetime, terms: RuleTerms) -> Iterable[Finding]:
    ends = now.replace(second=0, microsecond=0)
    begins = ends - CROWDS
    casts: Mapping[str, list[Cast]] = defaultdict(list)
    for row in run(session, _BALLOTS, most=BALLOTS_MOST, since=begins):
        casts[row.proposal_id].append(Cast(row.accepted_at, row.choice, row.admitted_at))
    for proposal, of in sorted(casts.items()):
        a_minute = [0] * (CROWDS // MINUTE)
        for cast in of:
            if cast.at < ends:
                a_minute[(cast.at - begins) // MINUTE] += 1
        burst = judge_burst(proposal, a_minute, ends - MINUTE, terms)
        if burst is not None:
            yield burst
        yield from judge_new_accounts(proposal, of, terms)
