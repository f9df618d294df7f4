"""A stateful machine over lifecycle, voting and jobs on real PostgreSQL, beside a plain model.

After every command the house is compared with ``plain.Commonwealth``, and the invariants are
checked over all rows. ``FORGE_LONG=1`` makes it a long job with fresh randomness.
"""

from __future__ import annotations

import os
import uuid
from fractions import Fraction

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    multiple,
    precondition,
    rule,
    run_state_machine_as_test,
)

from forge_core.database import transaction
from forge_core.ids import uuid7
from forge_core.jobs.lifecycle import claim
from forge_core.proposals.lifecycle import EDGES, FINAL, Status
from forge_workers.stack.roles import create_database, drop_database
from tests.core.factories import FOUNDERS, KINDS, House
from tests.core.plain import SCOPES, SIDES, Commonwealth, Proposal

LONG = bool(os.environ.get("FORGE_LONG"))
SETTINGS = settings(
    max_examples=300 if LONG else 15,
    stateful_step_count=80 if LONG else 30,
    derandomize=not LONG,
    deadline=None,
    print_blob=True,
    phases=(Phase.generate, Phase.shrink),
    suppress_health_check=list(HealthCheck),
)

NAMES = [founder.id for founder in FOUNDERS]
MEMBERS = st.sampled_from(NAMES)
# Whoever moves the clock, lifts restrictions and cancels stays able to.
TARGETS = st.sampled_from(["tara", "stan", "sam"])
LEVELS = st.sampled_from(["TRUSTED", "STANDARD", "SANDBOX", "QUARANTINE"])
CHOICES = st.sampled_from(SIDES)
# Mostly for, so that much is approved.
VOTES = st.fixed_dictionaries(
    {}, optional={name: st.sampled_from(["for", "for", *SIDES]) for name in NAMES}
)
HOURS = st.sampled_from([1, 24, 72, 168])

PAYLOADS = st.one_of(
    st.tuples(st.just("policy"), st.just({"text": "Be kind."})),
    st.tuples(
        st.just("configuration"),
        st.fixed_dictionaries(
            {"key": st.just("rate_limit.CORE"), "new_value": st.sampled_from([1, 2, 3])},
            optional={"old_value": st.sampled_from([2, 10_000])},
        ),
    ),
    st.tuples(
        st.just("trust_adjustment"),
        st.builds(
            lambda who, then: {"member": who[0], "current_trust": who[1], "new_trust": then},
            st.sampled_from(
                [("tara", "TRUSTED"), ("stan", "STANDARD"), ("sam", "SANDBOX")] * 2
                + [("tara", "QUARANTINE"), ("stan", "QUARANTINE")]
            ),
            LEVELS,
        ),
    ),
    st.tuples(
        st.just("overlay_registration"),
        st.fixed_dictionaries(
            {
                "overlay": st.sampled_from(["scout", "ranger"]),
                "name": st.just("An overlay"),
                "version": st.just("1.0.0"),
            }
        ),
    ),
)

# Kinds whose worker may be lost between claim and work.
LOSABLE = st.sampled_from(["proposals.close", "proposals.expire", "enforcement.execute"])
MOST_LOST = 6  # one more, and attempts would be used up: tests/core/test_jobs.py has that


class Machine(RuleBasedStateMachine):
    """Commands in, steps performed, and the model doing the same."""

    proposals = Bundle("proposals")
    ballots = Bundle("ballots")

    def __init__(self, servers, template: str) -> None:
        super().__init__()
        name = f"machine_{uuid.uuid4().hex}"
        create_database(servers.postgres, name, template=template)
        self.house = House(servers.postgres, name)
        self.model = Commonwealth(
            levels={founder.id: founder.level.value for founder in FOUNDERS},
            roles={founder.id: role.value for founder in FOUNDERS for role in founder.roles},
        )
        self.statuses: dict[str, str] = {}
        self.finals: dict[str, str] = {}
        self.lost = 0

    def teardown(self) -> None:
        try:
            self.end_well()
        finally:
            self.house.close()
            drop_database(self.house.server, self.house.name)

    def end_well(self) -> None:
        """INV-05: nothing due is stranded. INV-44: the entries make every derived row again."""
        self.work_everything()
        self.matches_the_model()
        before = self.house.derived_rows()
        self.house.refold()
        assert self.house.derived_rows() == before

    def done(self, kind: str, actor: str, payload: object) -> bool:
        answer = self.house.command(kind, actor, payload)
        assert answer.state in {"done", "refused"}, answer
        return answer.state == "done"

    # Proposals

    @initialize(
        target=proposals,
        edges=st.lists(st.tuples(MEMBERS, MEMBERS, st.sampled_from(SCOPES)), max_size=3),
        given=st.lists(PAYLOADS, min_size=2, max_size=3),
    )
    def begin(self, edges, given):
        """With votings under way and some weight delegated."""
        for delegator, to, scope in edges:
            self.delegate(delegator, to, scope, None)
        opened = [self.open(one, 24) for one in given]
        return multiple(*(one for one in opened if isinstance(one, str)))

    @rule(target=proposals, given=PAYLOADS, votes=VOTES, works=st.sampled_from([0, 1, 2]))
    def campaign(self, given, votes, works):
        """The whole way, or a part of it: so that all statuses are common."""
        proposal = self.open(given, 1)
        if isinstance(proposal, str):
            self.many_vote(proposal, votes)
        self.advance(1)
        if works >= 1:
            self.sweep_and_close()
        if works >= 2:
            self.execute()
        return proposal

    @rule(target=proposals, proposer=MEMBERS, given=PAYLOADS, hours=HOURS)
    def create(self, proposer, given, hours):
        type_, payload = given
        command = {
            "type": type_,
            "title": "A title",
            "description": "What for.",
            "payload": payload,
            "voting_hours": hours,
        }
        answer = self.house.command("proposals.create", proposer, command)
        accepted = self.model.may_create(proposer, type_, payload)
        assert (answer.state == "done") is accepted, answer
        if not accepted:
            return multiple()
        id_ = str(answer.result["proposal_id"])
        if type_ == "configuration":
            payload = payload | {"old_value": self.model.against(payload)}
        self.model.proposals[id_] = Proposal(type_, payload, proposer, hours, self.model.now)
        return id_

    @rule(target=proposals, given=PAYLOADS, hours=HOURS)
    def open(self, given, hours):
        """Create and activate, so that votings are common."""
        proposal = self.create("gus", given, hours)
        if isinstance(proposal, str):
            self.activate(proposal, "gus")
        return proposal

    @rule(proposal=proposals, actor=MEMBERS)
    def activate(self, proposal, actor):
        done = self.done("proposals.activate", actor, {"proposal_id": proposal})
        assert done is self.model.activate(proposal, actor)
        self.only_allowed_edges_were_taken()

    @rule(proposal=proposals, actor=MEMBERS)
    def cancel(self, proposal, actor):
        done = self.done("proposals.cancel", actor, {"proposal_id": proposal, "reason": "stop"})
        assert done is self.model.cancel(proposal, actor)

    # Voting

    @rule(target=ballots, proposal=proposals, member=MEMBERS, choice=CHOICES)
    def vote(self, proposal, member, choice):
        """Re-votes are votes."""
        command = uuid7()
        answer = self.house.vote(proposal, member, choice, command_id=command)
        assert answer.code == self.model.refusal(proposal, member)
        if answer.code is None:
            self.model.proposals[proposal].cast[member] = choice
        return proposal, member, choice, command, answer

    @rule(proposal=proposals, votes=VOTES)
    def many_vote(self, proposal, votes):
        for member, choice in votes.items():
            self.vote(proposal, member, choice)

    @rule(ballot=ballots)
    def send_a_ballot_again(self, ballot):
        """INV-11: the first answer, whatever has happened since, and no second ballot."""
        proposal, member, choice, command, first = ballot
        again = self.house.vote(proposal, member, choice, command_id=command)
        assert again.duplicate
        assert (again.code, again.ballot_id) == (first.code, first.ballot_id)

    @rule()
    def count(self):
        self.house.perform("votes.count")

    @rule()
    def recount(self):
        self.house.sweep()
        self.due_now()
        self.house.perform("votes.recount")
        assert self.house.entries("tally.corrected") == []

    # Members

    @rule(
        delegator=MEMBERS,
        to=MEMBERS,
        scope=st.sampled_from(SCOPES),
        lasting=st.sampled_from([None, 1, 500]),
    )
    def delegate(self, delegator, to, scope, lasting):
        payload = {"delegate": to, "scope": scope}
        until = None
        if lasting is not None:
            until = self.model.now + lasting
            payload["expires_at"] = self.house.one(
                "SELECT to_char(forge_now() + make_interval(hours => %s),"
                " 'YYYY-MM-DD\"T\"HH24:MI:SS.USOF')",
                lasting,
            )
        able = delegator != to and self.model.able(delegator) and self.model.able(to)
        done = self.done("members.delegate", delegator, payload)
        now = self.model.now
        assert done is (able and self.model.graph.set(delegator, scope, to, until, now=now))

    @rule(delegator=MEMBERS, scope=st.sampled_from(SCOPES))
    def revoke(self, delegator, scope):
        done = self.done("members.revoke_delegation", delegator, {"scope": scope})
        able, now = self.model.able(delegator), self.model.now
        assert done is (able and self.model.graph.revoke(delegator, scope, now=now))

    @rule(member=TARGETS)
    def restrict(self, member):
        assert self.done("members.restrict", "otto", {"member_id": member, "reason": "odd"})
        self.model.restricted.add(member)

    @rule(member=TARGETS)
    def release(self, member):
        done = self.done("members.release", "otto", {"member_id": member, "reason": "fine"})
        assert done is (member in self.model.restricted)
        self.model.restricted.discard(member)

    @precondition(lambda self: len(self.model.levels) < len(NAMES) + 3)
    @rule(level=st.sampled_from(["CORE", "STANDARD", "SANDBOX"]))
    def admit(self, level):
        """They weigh in later votings only."""
        name = f"new{len(self.model.levels)}"
        members = [{"id": name, "level": level}]
        assert self.done("members.admit", "cora", {"members": members, "source": "tests"})
        self.model.levels[name] = level

    # Time and work

    @rule(hours=st.sampled_from([1, 24, 72, 168, 400]))
    def advance(self, hours):
        self.house.advance(hours=hours)
        self.model.now += hours

    @rule()
    def sweep_and_close(self):
        self.house.sweep()
        self.due_now()
        due = self.model.due()
        self.house.perform("proposals.close")
        for id_ in due:
            self.close(id_)
        self.only_allowed_edges_were_taken()

    @rule()
    def sweep_and_expire(self):
        self.house.sweep()
        self.due_now()
        self.house.perform("proposals.expire")
        self.model.expire()
        self.only_allowed_edges_were_taken()

    @rule()
    def execute(self):
        self.due_now()
        for (id_,) in self.house.sql(
            "SELECT payload ->> 'proposal_id' FROM jobs"
            " WHERE kind = 'enforcement.execute' AND state = 'pending' ORDER BY id"
        ):
            self.model.execute(id_)
        while self.house.perform("enforcement.execute").full:
            pass
        self.only_allowed_edges_were_taken()

    @rule()
    def work_everything(self):
        """As an idle system does by itself, within seconds."""
        self.sweep_and_close()
        self.sweep_and_expire()
        self.execute()

    @rule(proposal=proposals, kind=LOSABLE)
    def deliver_again(self, proposal, kind):
        """INV-29: more rows than any code of ours would write."""
        self.house.sql(
            "INSERT INTO jobs (kind, key, once, payload, actor) VALUES (%s, %s, true,"
            " jsonb_build_object('proposal_id', %s::text), 'system')",
            kind,
            f"again:{uuid.uuid4()}",
            proposal,
        )
        # Closing early leaves the row waiting; take it away, it would only fill claims.
        if kind == "proposals.close":
            self.sweep_and_close()
            self.house.sql("DELETE FROM jobs WHERE key LIKE 'again:%' AND kind = 'proposals.close'")

    @precondition(lambda self: self.lost < MOST_LOST)
    @rule(kind=LOSABLE)
    def lose_a_worker(self, kind):
        """Claimed and never heard of again: the lease runs out."""
        self.house.sweep()
        self.due_now()
        with transaction(self.house.app) as session:
            claimed = claim(session, KINDS[kind])
        if claimed:
            self.lost += 1
            self.house.sql(
                "UPDATE jobs SET lease_until = now() - interval '1 s' WHERE state = 'running'"
            )

    # Shared steps

    def due_now(self) -> None:
        """Back-off runs on real time, which no test waits for."""
        self.house.sweep()
        self.house.sql("UPDATE jobs SET not_before = now() WHERE state = 'pending'")

    def close(self, id_: str) -> None:
        expected = self.model.close(id_)
        totals = self.house.column(id_, "decision")["totals"]
        assert {side: Fraction(totals[side]) for side in SIDES} == expected.sums
        assert int(totals["yes_voters"]) == expected.yes_voters
        assert Fraction(totals["largest_yes"]) == expected.largest_yes

    # Always

    @invariant()
    def matches_the_model(self):
        statuses = dict(self.house.sql("SELECT id, status FROM proposals"))
        assert statuses == {id_: p.status for id_, p in self.model.proposals.items()}
        assert dict(self.house.sql("SELECT id, level FROM members")) == self.model.levels
        value = self.house.sql("SELECT forge_setting('rate_limit.CORE')")[0][0]
        assert (10_000 if value is None else value) == self.model.setting
        assert {o for (o,) in self.house.sql("SELECT id FROM overlays")} == self.model.overlays
        policies = {p for (p,) in self.house.sql("SELECT proposal_id FROM policies")}
        assert policies == self.model.policies

    @invariant()
    def only_allowed_edges_were_taken(self):
        """INV-01; a close may queue at once, which is two edges in one step."""
        for id_, status in self.house.sql("SELECT id, status FROM proposals"):
            before = Status(self.statuses.get(id_, "draft"))
            near = {before} | EDGES[before]
            reachable = near.union(*(EDGES[through] for through in near))
            assert Status(status) in reachable, (before, status)
            self.statuses[id_] = status

    @invariant()
    def final_proposals_stay_byte_for_byte(self):
        """INV-02."""
        rows = self.house.sql(
            "SELECT id, p::text FROM proposals AS p WHERE status = ANY(%s)",
            [status.value for status in FINAL],
        )
        for id_, row in rows:
            assert self.finals.setdefault(id_, row) == row

    @invariant()
    def ballots_are_those_of_the_model(self):
        """INV-08: the last accepted one of each voter, counted or still in the inbox."""
        rows = self.house.sql("""
            SELECT DISTINCT ON (proposal_id, member_id) proposal_id, member_id, choice
            FROM (
                SELECT ballot_id, proposal_id, member_id, choice FROM ballots
                UNION ALL SELECT ballot_id, proposal_id, member_id, choice FROM ballot_inbox
            ) AS every
            ORDER BY proposal_id, member_id, ballot_id DESC
        """)
        assert {(p, m): choice for p, m, choice in rows} == {
            (id_, member): choice
            for id_, proposal in self.model.proposals.items()
            for member, choice in proposal.cast.items()
        }

    @invariant()
    def the_effective_ballot_is_the_last_counted_one(self):
        """INV-08, INV-23."""
        assert not self.house.sql("""
            SELECT proposal_id FROM (
                SELECT proposal_id, member_id, max(ballot_id) AS last FROM ballots
                WHERE counted GROUP BY proposal_id, member_id
            ) AS history
            FULL JOIN effective_ballots USING (proposal_id, member_id)
            WHERE last IS DISTINCT FROM ballot_id
        """)

    @invariant()
    def running_counters_are_a_recount(self):
        """INV-10."""
        assert self.house.counters_that_differ() == []

    @invariant()
    def members_by_level_are_a_recount(self):
        """INV-48."""
        assert self.house.one("""
            SELECT (core, trusted, standard, sandbox, quarantine) = (
                SELECT count(*) FILTER (WHERE level = 'CORE'),
                    count(*) FILTER (WHERE level = 'TRUSTED'),
                    count(*) FILTER (WHERE level = 'STANDARD'),
                    count(*) FILTER (WHERE level = 'SANDBOX'),
                    count(*) FILTER (WHERE level = 'QUARANTINE')
                FROM members
            ) FROM electorate
        """)

    @invariant()
    def every_live_proposal_has_a_next_wake_up(self):
        """INV-05."""
        assert not self.house.sql("""
            SELECT id FROM proposals WHERE CASE status
                WHEN 'draft' THEN lapses_at
                WHEN 'approved' THEN lapses_at
                WHEN 'active' THEN closes_at
                WHEN 'queued' THEN least(eta, expires_at)
                ELSE '-infinity'::timestamptz
            END IS NULL
        """)

    @invariant()
    def every_effect_happened_once(self):
        """INV-29, INV-46: effects, executed proposals and their entries are the same."""
        executed = {
            p for (p,) in self.house.sql("SELECT id FROM proposals WHERE status='executed'")
        }
        effects = [p for (p,) in self.house.sql("SELECT proposal_id FROM effects")]
        entries = [
            s
            for (s,) in self.house.sql(
                "SELECT subject FROM ledger_entries WHERE kind = 'proposal.executed'"
            )
        ]
        assert sorted(effects) == sorted(entries) == sorted(executed)


@pytest.mark.timeout(0 if LONG else 400)
def test_the_house_does_what_the_model_does_and_keeps_its_invariants(servers, founded_template):
    """INV-01, 02, 05, 08, 10, 11, 23, 26, 29, 44, 46."""
    run_state_machine_as_test(lambda: Machine(servers, founded_template), settings=SETTINGS)
