"""The sample in the package: licensed, whole, and consistent with what was published of it."""

from __future__ import annotations

from forge_workers.replay.expected import retally
from forge_workers.replay.plan import in_sending_order
from forge_workers.replay.session import SAMPLE
from forge_workers.replay.source import Counts, read


def test_every_published_total_is_what_the_last_votes_give() -> None:
    source = read(SAMPLE)
    counted = retally(in_sending_order(source.votes))

    assert not source.errors
    assert {
        identity: counted.get(identity, Counts("0", "0", "0")) for identity in source.proposals
    } == {identity: proposal.published for identity, proposal in source.proposals.items()}


def test_sample_is_a_few_thousand_votes_with_changed_ones() -> None:
    votes = read(SAMPLE).votes
    voters = {(vote.proposal_id, vote.voter) for vote in votes}

    assert (len(votes), len(votes) - len(voters)) == (6_974, 130)


def test_licence_notice_stands_beside_it() -> None:
    notice = (SAMPLE / "README.md").read_text(encoding="utf-8")

    assert "CC BY 4.0 with Attribution to The Computational Democracy Project" in " ".join(
        notice.split()
    )
    assert "Changed from the source" in notice
