"""The order of a replay: openings, ballots and closings on the sandbox clock, and the rolls."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from forge_workers.replay.expected import expected, retally
from forge_workers.replay.plan import Close, Open, Plan, Send, plan
from forge_workers.replay.source import Counts, Source, SourceProposal, SourceVote


def proposal(
    identity: str,
    *,
    opened_at: int | None = None,
    closed_at: int | None = None,
    kind: str = "poll",
    text: str = "",
    author: str | None = None,
    published: Counts | None = None,
) -> SourceProposal:
    return SourceProposal(
        line=2,
        id=identity,
        text=text or identity,
        kind=kind,
        author=author,
        opened_at=opened_at,
        closed_at=closed_at,
        outcome=None,
        threshold=None,
        published=published,
    )


def vote(
    proposal_id: str,
    voter: str,
    *,
    at: int | None = None,
    choice: str = "for",
    weight: str | None = None,
) -> SourceVote:
    return SourceVote(2, proposal_id, voter, choice, weight, at)


def source(proposals: list[SourceProposal], votes: list[SourceVote]) -> Source:
    by_id = {proposal.id: proposal for proposal in proposals}
    return Source(name="set", digest="d" * 64, proposals=by_id, votes=votes, errors=())


def story(made: Plan) -> list[str]:
    """The steps as words: +a opens a, a:ann is ann's ballot on a, -a closes a."""
    words = []
    for step in made.steps:
        match step:
            case Open(proposals):
                words += [f"+{one.source.id}" for one in proposals]
            case Send(start, stop):
                words += [f"{one.proposal_id}:{one.voter}" for one in made.votes[start:stop]]
            case Close(proposals):
                words += [f"-{one.source.id}" for one in proposals]
    return words


def test_ballots_go_in_order_of_time_and_ties_in_order_of_file() -> None:
    made = plan(
        source(
            [proposal("a", opened_at=0, closed_at=9)],
            [vote("a", "cy", at=5), vote("a", "ann", at=3), vote("a", "bob", at=5)],
        )
    )

    assert story(made) == ["+a", "a:ann", "a:cy", "a:bob", "-a"]


def test_file_order_holds_where_one_ballot_has_no_time() -> None:
    made = plan(
        source(
            [proposal("a", opened_at=0, closed_at=1), proposal("b", opened_at=2, closed_at=9)],
            [vote("b", "cy", at=5), vote("a", "ann"), vote("b", "bob", at=3)],
        )
    )

    assert story(made) == ["+a", "+b", "b:cy", "a:ann", "b:bob", "-a", "-b"]


def test_proposals_close_between_the_ballots_of_others() -> None:
    made = plan(
        source(
            [proposal("a", opened_at=0, closed_at=4), proposal("b", opened_at=1, closed_at=9)],
            [vote("a", "ann", at=4), vote("b", "ann", at=5), vote("b", "bob", at=9)],
        )
    )

    assert story(made) == ["+a", "+b", "a:ann", "-a", "b:ann", "b:bob", "-b"]


def test_proposal_stays_open_for_ballots_outside_its_own_dates() -> None:
    made = plan(
        source(
            [proposal("a", opened_at=5, closed_at=6), proposal("b", opened_at=0, closed_at=7)],
            [vote("a", "early", at=1), vote("a", "late", at=8)],
        )
    )

    assert story(made) == ["+a", "+b", "a:early", "-b", "a:late", "-a"]


def test_proposal_without_dates_is_open_all_the_time() -> None:
    made = plan(
        source(
            [proposal("a"), proposal("b", opened_at=3, closed_at=5)],
            [vote("a", "ann", at=7)],
        )
    )

    assert story(made) == ["+a", "+b", "-b", "a:ann", "-a"]


def test_voting_hours_count_slots_from_the_opening() -> None:
    made = plan(
        source(
            [
                proposal("a", opened_at=0, closed_at=4),
                proposal("b", opened_at=0, closed_at=8),
                proposal("c", opened_at=5, closed_at=8),
            ],
            [],
        )
    )

    hours = {one.source.id: one.place.voting_hours for one in made.proposals}
    assert hours == {"a": 168, "b": 336, "c": 168}


spans = st.lists(
    st.tuples(st.integers(0, 60), st.integers(0, 60), st.lists(st.integers(0, 60), max_size=5)),
    min_size=1,
    max_size=30,
)


@given(spans)
def test_every_ballot_falls_between_opening_and_closing_of_its_proposal(
    drawn: list[tuple[int, int, list[int]]],
) -> None:
    proposals = [
        proposal(f"p{at}", opened_at=opens, closed_at=closes)
        for at, (opens, closes, _) in enumerate(drawn)
    ]
    votes = [
        vote(f"p{at}", f"v{instant}", at=instant)
        for at, (_, _, cast) in enumerate(drawn)
        for instant in cast
    ]
    made = plan(source(proposals, votes))
    told = story(made)

    assert sorted(word for word in told if ":" in word) == sorted(
        f"{one.proposal_id}:{one.voter}" for one in votes
    )
    for one in proposals:
        mine = [at for at, word in enumerate(told) if word.split(":")[0] == one.id]
        opened, closed = told.index(f"+{one.id}"), told.index(f"-{one.id}")
        assert all(opened < at < closed for at in mine)


@given(spans)
def test_deadlines_on_the_clock_keep_the_order_of_the_slots(
    drawn: list[tuple[int, int, list[int]]],
) -> None:
    """Even when each opening takes time, and closing lands a little past the last deadline."""
    proposals = [
        proposal(f"p{at}", opened_at=opens, closed_at=closes)
        for at, (opens, closes, _) in enumerate(drawn)
    ]
    clock, tick = 0.0, 168 / 1_000
    closes_at: dict[str, float] = {}
    for step in plan(source(proposals, [])).steps:
        match step:
            case Open(opening):
                for one in opening:
                    clock += tick
                    closes_at[one.source.id] = clock + one.place.voting_hours
            case Close(closing):
                due = [closes_at.pop(one.source.id) for one in closing]
                assert clock < min(due)
                clock = max(due) + tick
                assert all(clock < other for other in closes_at.values())
            case Send():
                raise AssertionError("there are no ballots")
    assert not closes_at


def test_weighted_proposal_has_a_roll_of_its_own_in_which_the_last_weight_counts() -> None:
    made = plan(
        source(
            [proposal("a"), proposal("b")],
            [
                vote("a", "ann", at=1, weight="3"),
                vote("b", "ann", at=2, weight="4"),
                vote("a", "bob", at=3, weight="0"),
                vote("a", "ann", at=4, weight="2.5"),
            ],
        )
    )

    rolls = {one.source.id: one.electorate for one in made.proposals}
    by_name = {electorate.name: electorate.roll for electorate in made.electorates}
    assert by_name[rolls["a"]] == {"ann": "2.5", "bob": "0"}
    assert by_name[rolls["b"]] == {"ann": "4"}


def test_proposals_of_one_kind_share_a_roll_of_everybody_seen_in_it() -> None:
    made = plan(
        source(
            [proposal("a", kind="x y"), proposal("b", kind="x y"), proposal("c", kind="z")],
            [vote("a", "ann"), vote("b", "bob"), vote("c", "cy")],
        )
    )

    assert [electorate.roll for electorate in made.electorates] == [
        {"ann": "1", "bob": "1"},
        {"cy": "1"},
    ]
    first, second, third = made.proposals
    assert first.electorate == second.electorate != third.electorate


def test_kind_in_which_nobody_voted_has_no_roll_to_import() -> None:
    made = plan(source([proposal("a", kind="x"), proposal("b", kind="z")], [vote("a", "ann")]))

    assert [electorate.roll for electorate in made.electorates] == [{"ann": "1"}]
    assert [one.electorate for one in made.proposals] == ["replay-dddddddddddd-1", None]


def test_title_is_the_first_200_characters_or_the_source_id() -> None:
    made = plan(
        source(
            [
                proposal("a", text="t" * 300),
                proposal("b", text="\u200b" * 200 + "seen only later"),
                proposal("c", text="x" * 199 + " y"),
            ],
            [],
        )
    )

    assert [one.title for one in made.proposals] == ["t" * 200, "b", "x" * 199]


def test_proposer_is_the_author_or_the_replay_member() -> None:
    made = plan(source([proposal("a", author="ann"), proposal("b")], []))

    assert [one.proposer for one in made.proposals] == ["ann", "replay"]
    assert made.proposers == ("ann", "replay")


def test_same_data_gives_the_same_plan() -> None:
    def build() -> Plan:
        return plan(source([proposal("a", closed_at=3)], [vote("a", "ann", at=1)]))

    assert build() == build()


def test_retally_counts_the_last_ballot_of_each_voter_exactly() -> None:
    huge = "9" * 60
    counts = retally(
        [
            vote("a", "ann", choice="for", weight="0.1"),
            vote("a", "bob", choice="for", weight=huge),
            vote("a", "ann", choice="against", weight="0.2"),
            vote("a", "cy", choice="for", weight="0.000000001"),
        ]
    )

    assert counts == {"a": Counts(f"{huge}.000000001", "0.2", "0")}


def test_published_counts_are_expected_before_our_own() -> None:
    published = Counts("5", "0", "0")
    dataset = source(
        [proposal("a", published=published), proposal("b"), proposal("c")],
        [vote("a", "ann"), vote("b", "ann")],
    )

    wanted = expected(dataset, dataset.votes)
    assert {at: (one.counts, one.origin) for at, one in wanted.items()} == {
        "a": (published, "published"),
        "b": (Counts("1", "0", "0"), "re-tally of the file"),
        "c": (Counts("0", "0", "0"), "re-tally of the file"),
    }
