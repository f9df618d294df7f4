"""What is counted: re-votes, set-aside ballots, delegated weight, imported rolls; all exact."""

from __future__ import annotations

import itertools
import random
from collections.abc import Mapping
from fractions import Fraction

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from forge_core.ids import uuid7
from tests.core.factories import House
from tests.core.plain import SCOPES, SIDES, WEIGHTS, Graph, count

NAMES = ("cora", "gus", "otto", "tara", "stan", "sam")


def totals(house: House, proposal: str) -> dict[str, str]:
    """The totals that decided."""
    return dict(house.column(proposal, "decision")["totals"])


def close(house: House, proposal: str) -> Mapping[str, object]:
    house.close_now()
    decision: Mapping[str, object] = house.column(proposal, "decision")
    return decision


def tally(house: House, proposal: str) -> dict[str, object]:
    columns = ", ".join(f"{side}_weight::text, {side}_ballots" for side in SIDES)
    (row,) = house.sql(f"SELECT {columns}, revotes FROM tallies WHERE proposal_id = %s", proposal)
    names = [f"{side}_{unit}" for side in SIDES for unit in ("weight", "ballots")]
    return dict(zip([*names, "revotes"], row, strict=True))


# Re-votes


def test_the_last_ballot_counts_and_the_earlier_ones_stay_in_the_history(house):
    """INV-08, INV-23."""
    proposal = house.open()
    for choice in ("for", "against", "abstain", "against"):
        house.vote(proposal, "tara", choice)
    house.perform("votes.count")

    assert house.sql("SELECT choice FROM effective_ballots") == [("against",)]
    assert [c for (c,) in house.sql("SELECT choice FROM ballots ORDER BY ballot_id")] == [
        "for",
        "against",
        "abstain",
        "against",
    ]
    assert tally(house, proposal) == {
        "for_weight": "0",
        "for_ballots": 0,
        "against_weight": "3",
        "against_ballots": 1,
        "abstain_weight": "0",
        "abstain_ballots": 0,
        "revotes": 3,
    }


@pytest.mark.parametrize("split", [1, 2, 3, 5, 12])
def test_the_tally_does_not_depend_on_how_ballots_are_split_over_counts(house, split):
    """INV-10, INV-11."""
    proposal = house.open()
    order = random.Random(7)
    votes = [(order.choice(NAMES), order.choice(SIDES)) for _ in range(12)]
    for start in range(0, len(votes), split):
        for member, choice in votes[start : start + split]:
            house.vote(proposal, member, choice)
        house.perform("votes.count")
        house.perform("votes.count")

    weights = {"cora": 5, "gus": 3, "otto": 3, "tara": 3, "stan": 1, "sam": Fraction(1, 2)}
    last = dict(votes)
    expected = {
        side: sum(Fraction(weights[m]) for m, c in last.items() if c == side) for side in SIDES
    }
    found = tally(house, proposal)
    assert {side: Fraction(str(found[f"{side}_weight"])) for side in SIDES} == expected
    assert found["revotes"] == len(votes) - len(last)


def test_counting_twice_changes_nothing(house):
    """INV-11."""
    proposal = house.open()
    house.approve(proposal)
    house.perform("votes.count")
    before = tally(house, proposal)

    house.perform("votes.count")

    assert tally(house, proposal) == before


def test_a_running_tally_that_went_wrong_is_corrected_by_an_entry(house):
    """INV-10: the recount says what was wrong."""
    proposal = house.open()
    house.vote(proposal, "tara", "for")
    house.vote(proposal, "tara", "against")
    house.perform("votes.count")
    house.sql("UPDATE tallies SET for_weight = 77, against_ballots = 9")
    house.sweep()
    house.perform("votes.recount")

    found = tally(house, proposal)
    assert (found["for_weight"], found["against_weight"]) == ("0", "3")
    assert found["against_ballots"] == 1
    (entry,) = house.entries("tally.corrected")
    assert entry["data"]["before"]["for_weight"] == "77"
    assert house.sql("SELECT corrections FROM recounts") == [(1,)]


def test_a_recount_that_finds_nothing_writes_no_entry(house):
    """INV-10."""
    proposal = house.open()
    house.vote(proposal, "tara", "for")
    house.vote(proposal, "tara", "against")
    house.perform("votes.count")
    house.sweep()
    before = house.one("SELECT count(*) FROM ledger_entries")
    house.perform("votes.recount")

    assert house.one("SELECT count(*) FROM ledger_entries") == before
    assert house.sql("SELECT revotes, corrections FROM recounts") == [(1, 0)]


def test_a_wrong_running_tally_does_not_decide(house):
    """INV-27: the close counts the ballots themselves."""
    proposal = house.open()
    house.approve(proposal)
    house.perform("votes.count")
    house.sql("UPDATE tallies SET for_weight = 0, against_weight = 15")
    decision = close(house, proposal)

    assert decision["outcome"] == "approved"
    assert totals(house, proposal)["for"] == "11"


@pytest.mark.parametrize("choices", [{}, {"cora": "abstain", "gus": "abstain", "tara": "abstain"}])
def test_no_ballots_or_only_abstentions_never_approve(house, choices):
    """INV-15, INV-16."""
    proposal = house.open()
    for member, choice in choices.items():
        house.vote(proposal, member, choice)

    assert close(house, proposal)["outcome"] == "rejected"


def test_a_tie_exactly_at_the_threshold_passes(house):
    """INV-14."""
    proposal = house.open()
    for member, choice in (("gus", "for"), ("otto", "against"), ("sam", "abstain")):
        house.vote(proposal, member, choice)

    assert close(house, proposal)["outcome"] == "approved"


# Quarantine and restrictions


def quarantine(house: House, member: str, level: str) -> None:
    """By an executed proposal, within an hour."""
    adjustment = {"member": member, "current_trust": level, "new_trust": "QUARANTINE"}
    proposal = house.open(
        "otto", type="trust_adjustment", payload=adjustment, voting_hours=1, title="quarantine"
    )
    for voter in ("cora", "otto", "gus"):
        house.vote(proposal, voter, "for")
    house.advance(hours=1, seconds=1)
    house.settle()
    assert house.one("SELECT level FROM members WHERE id = %s", member) == "QUARANTINE"


def test_a_ballot_is_set_aside_when_its_voter_is_quarantined_at_the_close(house):
    """INV-20: and the decision shows the outcome with and without it."""
    proposal = house.open()
    for member, choice in (
        ("gus", "for"),
        ("tara", "for"),
        ("otto", "against"),
        ("stan", "against"),
    ):
        house.vote(proposal, member, choice)
    quarantine(house, "tara", "TRUSTED")

    decision = close(house, proposal)

    assert decision["outcome"] == "rejected"
    assert decision["set_aside"] == {
        "ballots": [{"member": "tara", "choice": "for", "weight": "3"}],
        "outcome_with_them": "approved",
        "totals_with_them": {
            "for": "6",
            "against": "4",
            "abstain": "0",
            "eligible": "15.5",
            "largest_yes": "3",
            "yes_voters": "2",
        },
    }
    assert totals(house, proposal)["for"] == "3"
    assert totals(house, proposal)["eligible"] == "15.5"


def test_a_member_released_from_quarantine_before_the_close_counts_again(house):
    """INV-20: the level at the close decides."""
    proposal = house.open()
    house.approve(proposal)
    quarantine(house, "tara", "TRUSTED")
    adjustment = {"member": "tara", "current_trust": "QUARANTINE", "new_trust": "STANDARD"}
    release = house.open("otto", type="trust_adjustment", payload=adjustment, voting_hours=1)
    for voter in ("cora", "otto", "gus"):
        house.vote(release, voter, "for")
    house.advance(hours=1, seconds=1)
    house.settle()

    decision = close(house, proposal)

    assert "set_aside" not in decision
    assert totals(house, proposal)["for"] == "11"  # tara's frozen 3, not the 1 of her level now


def test_a_restriction_leaves_ballots_level_and_quorum_base_alone(house):
    """INV-20, INV-42: a robot or one operator swings no vote."""
    proposal = house.open()
    house.approve(proposal)
    for member in ("cora", "gus", "tara", "stan"):
        house.do("members.restrict", "otto", member_id=member, reason="odd", seconds=3_600)
    refused = house.vote(proposal, "stan", "against")
    house.sql("UPDATE restrictions SET until = now() + interval '30 days' WHERE member_id='cora'")
    house.do("members.release", "otto", member_id="cora", reason="it was nothing")

    decision = close(house, proposal)

    assert refused.code == "MEMBER_RESTRICTED"
    assert decision["outcome"] == "approved"
    assert totals(house, proposal)["for"] == "11"
    assert totals(house, proposal)["eligible"] == "15.5"


def test_a_released_member_votes_again(house):
    proposal = house.open()
    house.do("members.restrict", "otto", member_id="tara", reason="odd")
    house.do("members.release", "otto", member_id="tara", reason="nothing there")

    assert house.vote(proposal, "tara", "for").code is None


def test_a_second_restriction_never_shortens_the_first(house):
    first = house.do("members.restrict", "otto", member_id="tara", reason="odd", seconds=86_400)
    second = house.do("members.restrict", "otto", member_id="tara", reason="odd", seconds=60)

    assert second["until"] == first["until"]


def test_a_restriction_that_ran_out_is_none(house):
    """INV-20: leases run on real time, whatever the sandbox's clock says."""
    proposal = house.open()
    house.do("members.restrict", "otto", member_id="tara", reason="odd")
    house.advance(hours=48)
    still = house.vote(proposal, "tara", "for").code
    house.sql("UPDATE restrictions SET imposed_at = now() - interval '2 s', until = now()")

    assert still == "MEMBER_RESTRICTED"
    assert house.vote(proposal, "tara", "for").code is None


# Delegation


def delegate(house: House, delegator: str, to: str, **more: object) -> None:
    house.do("members.delegate", delegator, delegate=to, **more)


def test_weight_follows_the_chain_to_the_first_who_casts(house):
    """INV-26."""
    delegate(house, "sam", "stan")
    delegate(house, "stan", "tara")
    delegate(house, "tara", "gus")
    proposal = house.open()
    house.vote(proposal, "tara", "for")
    house.vote(proposal, "otto", "against")
    house.close_now()

    found = totals(house, proposal)
    assert (found["for"], found["against"]) == ("4.5", "3")
    assert found["yes_voters"] == "1"  # members who cast themselves
    assert found["largest_yes"] == "4.5"  # own plus delegated


def test_voting_oneself_overrides_and_takes_exactly_ones_own_weight_along(house):
    """INV-26: those who follow the overrider follow with the own ballot."""
    delegate(house, "sam", "stan")
    delegate(house, "stan", "tara")
    proposal = house.open()
    house.vote(proposal, "tara", "for")
    house.vote(proposal, "stan", "against")
    house.close_now()

    assert (totals(house, proposal)["for"], totals(house, proposal)["against"]) == ("3", "1.5")


def test_weight_that_reaches_nobody_who_casts_is_in_no_tally(house):
    """INV-26: it stays in the quorum base."""
    delegate(house, "stan", "sam")
    proposal = house.open()
    house.approve(proposal)
    house.close_now()

    found = totals(house, proposal)
    assert (found["for"], found["against"], found["abstain"]) == ("11", "0", "0")
    assert found["eligible"] == "15.5"


def test_an_edge_of_the_type_beats_the_general_one(house):
    """INV-26."""
    delegate(house, "stan", "tara")
    delegate(house, "stan", "otto", scope="policy")
    policy = house.open()
    other = house.open(type="configuration", payload={"key": "rate_limit.CORE", "new_value": 5_000})
    for proposal in (policy, other):
        house.vote(proposal, "tara", "for")
        house.vote(proposal, "otto", "against")
    house.close_now()

    assert totals(house, policy)["against"] == "4"
    assert totals(house, other)["for"] == "4"


def test_delegation_is_frozen_with_the_roll(house):
    """INV-09, INV-26: edges set, replaced, revoked or expired after opening change nothing."""
    delegate(house, "stan", "tara")
    delegate(house, "sam", "tara", expires_at=later(house, hours=2))
    proposal = house.open(voting_hours=24)
    delegate(house, "stan", "otto")
    delegate(house, "gus", "otto")
    house.advance(hours=3)
    house.vote(proposal, "tara", "for")
    house.vote(proposal, "otto", "against")
    house.close_now()

    assert (totals(house, proposal)["for"], totals(house, proposal)["against"]) == ("4.5", "3")


def test_a_revoked_edge_carries_nothing_in_later_votings(house):
    delegate(house, "stan", "tara")
    house.do("members.revoke_delegation", "stan")
    proposal = house.open()
    house.approve(proposal)
    house.close_now()

    assert totals(house, proposal)["for"] == "11"


def test_an_edge_that_expired_before_opening_gives_way_to_the_general_one(house):
    """INV-26."""
    delegate(house, "stan", "otto")
    delegate(house, "stan", "tara", scope="policy", expires_at=later(house, hours=1))
    house.advance(hours=2)
    proposal = house.open()
    house.vote(proposal, "tara", "for")
    house.vote(proposal, "otto", "against")
    house.close_now()

    assert totals(house, proposal)["against"] == "4"


def test_the_weight_of_a_quarantined_delegator_is_set_aside(house):
    """INV-20, INV-26."""
    delegate(house, "tara", "gus")
    delegate(house, "stan", "tara")
    proposal = house.open()
    house.vote(proposal, "gus", "for")
    house.vote(proposal, "otto", "against")
    quarantine(house, "tara", "TRUSTED")
    house.close_now()

    # gus 3 and stan 1, who reaches gus through tara; not tara's own 3.
    assert totals(house, proposal)["for"] == "4"


def test_what_a_quarantined_delegate_carries_is_set_aside_with_the_ballot(house):
    """INV-20, INV-26."""
    delegate(house, "stan", "tara")
    proposal = house.open()
    house.vote(proposal, "tara", "for")
    house.vote(proposal, "gus", "for")
    house.vote(proposal, "otto", "against")
    quarantine(house, "tara", "TRUSTED")
    decision = close(house, proposal)

    assert totals(house, proposal)["for"] == "3"
    assert decision["set_aside"]["totals_with_them"]["for"] == "7"


def later(house: House, **by: float) -> str:
    interval = " ".join(f"{amount} {unit}" for unit, amount in by.items())
    return str(house.one(f"SELECT (forge_now() + interval '{interval}')::text")).replace(" ", "T")


FORTNIGHT, HOUR = 14 * 24, 1
MEMBERS = st.integers(0, 5)
EDGES = st.lists(
    st.tuples(MEMBERS, st.sampled_from(SCOPES), MEMBERS, st.sampled_from([None, HOUR, FORTNIGHT])),
    max_size=9,
)


@settings(
    max_examples=25,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    levels=st.lists(
        st.sampled_from(["CORE", "TRUSTED", "STANDARD", "SANDBOX"]), min_size=6, max_size=6
    ),
    edges=EDGES,
    revoked=st.lists(st.tuples(MEMBERS, st.sampled_from(SCOPES)), max_size=2),
    cast=st.dictionaries(MEMBERS, st.sampled_from(SIDES), min_size=1),
    quarantined=st.sets(MEMBERS, max_size=1),
)
def test_delegated_weight_is_counted_as_a_plain_model_counts_it(
    shared, levels, edges, revoked, cast, quarantined
):
    """INV-26: each unit of frozen weight is in at most one tally; cycles are never accepted."""
    house = shared
    prefix = uuid7().hex
    names = [f"{prefix}-{number}" for number in range(6)]
    admitted = [{"id": n, "level": level} for n, level in zip(names, levels, strict=True)]
    house.do("members.admit", "cora", source="tests", members=admitted)
    roll = {number: WEIGHTS[level] for number, level in enumerate(levels)}

    graph = Graph()
    commands, expected = [], []
    for delegator, scope, to, hours in edges:
        payload: dict[str, object] = {"delegate": names[to], "scope": scope}
        if hours is not None:
            payload["expires_at"] = later(house, hours=hours)
        commands.append(("members.delegate", names[delegator], payload))
        expected.append(graph.set(delegator, scope, to, hours, now=0))
    for delegator, scope in revoked:
        commands.append(("members.revoke_delegation", names[delegator], {"scope": scope}))
        expected.append(graph.revoke(delegator, scope, now=0))
    accepted = [house.command(*command).state == "done" for command in commands]
    assert accepted == expected

    house.advance(hours=HOUR, seconds=1)
    proposal = house.open()
    for member, choice in cast.items():
        assert house.vote(proposal, names[member], choice).code is None
    for member in quarantined:
        house.sql("UPDATE members SET level = 'QUARANTINE' WHERE id = %s", names[member])
    house.close_now()

    expected_count = count(roll, graph.frozen("policy", HOUR), cast, set(quarantined))
    found = totals(house, proposal)
    assert {side: Fraction(found[side]) for side in SIDES} == expected_count.sums
    assert int(found["yes_voters"]) == expected_count.yes_voters
    assert Fraction(found["largest_yes"]) == expected_count.largest_yes


# Imported electorates


def import_roll(house: House, name: str, *roll: tuple[str, str], last: bool = True) -> None:
    house.do(
        "members.import_electorate",
        "cora",
        electorate=name,
        roll=[list(pair) for pair in roll],
        last=last,
    )


HUGE = "123456789012345678901234567890123456789012345678901234567890.0123456789012345"
TINY = "0.0000000000000000000000000000000000000000000000000000000000000001"


def test_imported_weights_of_any_length_are_counted_exactly(house):
    """INV-12: sixty digits before the point, sixty-four behind it."""
    import_roll(house, "coins", ("tara", HUGE), ("gus", TINY), ("otto", HUGE), ("sam", "0.1"))
    proposal = house.open(electorate="coins")
    for member, choice in (("tara", "for"), ("gus", "for"), ("otto", "against")):
        house.vote(proposal, member, choice)
    decision = close(house, proposal)

    found = totals(house, proposal)
    assert Fraction(found["for"]) == Fraction(HUGE) + Fraction(TINY)
    assert Fraction(found["against"]) == Fraction(HUGE)
    assert Fraction(found["eligible"]) == 2 * Fraction(HUGE) + Fraction(TINY) + Fraction("0.1")
    assert decision["outcome"] == "approved"


def test_the_smallest_difference_decides(house):
    """INV-12, INV-13."""
    import_roll(house, "coins", ("tara", HUGE), ("gus", TINY), ("otto", HUGE))
    proposal = house.open(electorate="coins")
    for member, choice in (("tara", "for"), ("gus", "against"), ("otto", "against")):
        house.vote(proposal, member, choice)

    assert close(house, proposal)["outcome"] == "rejected"


def test_a_weight_of_zero_is_recorded_and_weighs_nothing(house):
    """INV-07: in an imported roll; a member of no weight is no yes-voter either."""
    import_roll(house, "coins", ("tara", "0"), ("gus", "1"), ("otto", "1.000"))
    proposal = house.open(electorate="coins")
    codes = [house.vote(proposal, m, "for").code for m in ("tara", "gus", "sam")]
    house.close_now()

    assert codes == [None, None, "VOTER_NOT_IN_ROLL"]
    assert totals(house, proposal)["for"] == "1"
    assert totals(house, proposal)["yes_voters"] == "1"
    assert house.one("SELECT count(*) FROM ballots") == 2
    assert house.column(proposal, "eligible_members") == 3


def test_a_roll_comes_in_parts_and_is_shared_once_sealed(house):
    import_roll(house, "coins", ("tara", "1"), last=False)
    import_roll(house, "coins", ("gus", "2"), ("otto", "0.5"))
    proposals = [house.open(electorate="coins") for _ in range(2)]

    assert [house.column(p, "eligible_weight::text") for p in proposals] == ["3.5", "3.5"]
    assert house.sql("SELECT members, weight::text FROM imported_electorates") == [(3, "3.5")]
    digests = [entry["data"]["digest"] for entry in house.entries("electorate.sealed")]
    assert digests == [house.one("SELECT digest FROM imported_electorates")]


def test_the_digest_of_a_roll_does_not_depend_on_its_parts(house):
    roll = [("tara", "1.50"), ("gus", "2"), ("otto", "0.5")]
    for name, order in zip("abc", itertools.permutations(roll), strict=False):
        import_roll(house, name, order[0], last=False)
        import_roll(house, name, *order[1:])

    assert house.one("SELECT count(DISTINCT digest) FROM imported_electorates") == 1


def test_members_admitted_or_promoted_later_do_not_touch_an_imported_roll(house):
    """INV-09."""
    import_roll(house, "coins", ("stan", "7"), ("tara", "1"))
    proposal = house.open(electorate="coins")
    house.sql("UPDATE members SET level = 'CORE' WHERE id = 'stan'")
    house.vote(proposal, "stan", "for")
    house.close_now()

    assert totals(house, proposal)["for"] == "7"


def test_delegated_weight_in_an_imported_roll_is_the_rolls(house):
    """INV-26."""
    delegate(house, "stan", "tara")
    delegate(house, "cora", "tara")
    import_roll(house, "coins", ("stan", "7.25"), ("tara", "1"))
    proposal = house.open(electorate="coins")
    house.vote(proposal, "tara", "for")
    house.close_now()

    assert totals(house, proposal)["for"] == "8.25"
