"""INV-45, INV-44: whatever a superuser changes in a ledger, verification says so, and where."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from functools import partial
from random import Random
from typing import Any

import pytest
from sqlalchemy import text

from forge_core.database import snapshot
from forge_core.ledger.checkpoints import CheckpointFile
from forge_core.ledger.discrepancy import Discrepancy
from forge_core.ledger.model import CommittedText
from forge_core.ledger.notes import SigningKey
from forge_core.ledger.replay import Batch, replay, shadow
from forge_core.ledger.verifying import Erased, Scope, compare_all, verify
from forge_core.tables import DERIVED
from forge_core.wiring import ENTRY_KINDS
from tests.core.factories import House
from tests.core.tampering import (
    HARMED,
    Harm,
    Ledger,
    Stored,
    disarm,
    ledger_harms,
    outside_harms,
    prepare,
    table_harms,
)

pytestmark = pytest.mark.timeout(900)  # many verifications a test


Find = Callable[[Harm], Generator[Discrepancy | Erased, None, None]]


@pytest.fixture(scope="module")
def ledger(lived_shared: House, tmp_path_factory) -> Iterator[Ledger]:
    """Honest, and nothing in the database refuses anything any more."""
    ledger = prepare(lived_shared, tmp_path_factory.mktemp("log"))
    assert _found(ledger) == []
    disarm(ledger.engine)
    assert _found(ledger) == []
    yield ledger
    assert _found(ledger) == []
    ledger.engine.dispose()


def _report(
    ledger: Ledger, harm: Harm | None = None, **scope: Any
) -> Generator[Discrepancy | Erased, None, None]:
    """What verification says after a harm, which leaves nothing behind."""
    ledger.log.write_bytes(ledger.outside)
    given = {"sinks": [CheckpointFile(ledger.log)]} | scope
    with snapshot(ledger.engine) as session:
        if harm is not None:
            harm.do(session)
        yield from verify(session, Scope(ENTRY_KINDS, DERIVED, **given))


def _found(ledger: Ledger, harm: Harm | None = None, **scope: Any) -> list[Discrepancy]:
    report = _report(ledger, harm, **scope)
    return [one for one in report if not isinstance(one, Erased)]


@contextmanager
def _folded(ledger: Ledger) -> Iterator[Find]:
    """The part of a verification that looks at derived rows: entries are folded once for all."""
    with snapshot(ledger.engine) as session:
        shadow(session, DERIVED)
        assert all(isinstance(one, Batch) for one in replay(session, ENTRY_KINDS))

        def find(harm: Harm) -> Generator[Discrepancy | Erased, None, None]:
            harmed = session.begin_nested()
            try:
                # The temporary tables are the rows that entries make; the harm is to the others.
                session.execute(text("SET LOCAL search_path = public, pg_temp"))
                harm.do(session)
                yield from compare_all(DERIVED, (session, "public"), (session, "pg_temp"))
            finally:
                harmed.rollback()

        yield find


def _missed(find: Find, harms: Sequence[Harm]) -> list[str]:
    """The harms that are not named, each with what was said instead."""
    missed = []
    for harm in harms:
        said = []
        with closing(find(harm)) as report:
            for one in report:
                said.append(one)
                if _names(one, harm):
                    break
            else:
                missed.append(f"{harm.name}: {[str(one) for one in said]}")
    return missed


def _names(said: Discrepancy | Erased, harm: Harm) -> bool:
    return (
        isinstance(said, Discrepancy)
        and said.where == harm.where
        and harm.position in {None, said.position}
    )


def _harms(ledger: Ledger, table: Any = None) -> list[Harm]:
    with snapshot(ledger.engine) as session:
        return ledger_harms(session, ledger) if table is None else table_harms(session, table)


def _named(ledger: Ledger, name: str, table: Any = None) -> Harm:
    return next(harm for harm in _harms(ledger, table) if harm.name == name)


@pytest.mark.parametrize("table", HARMED, ids=str)
def test_whatever_is_changed_in_a_table_is_found_and_named(ledger, table):
    """INV-45, INV-44."""
    harms = _harms(ledger, table)

    assert harms
    if table in DERIVED:
        with _folded(ledger) as find_in_rows:
            assert _missed(find_in_rows, harms) == []
        harms = [Random(table.name).choice(harms)]
    assert _missed(partial(_report, ledger), harms) == []


def test_a_ledger_that_was_made_to_fit_again_does_not_fit_what_was_signed(ledger):
    """INV-45."""
    assert _missed(partial(_report, ledger), _harms(ledger)) == []


def test_whatever_is_changed_in_the_copy_outside_is_found(ledger):
    """INV-45."""
    assert _missed(partial(_report, ledger), outside_harms(ledger)) == []


def test_there_are_hundreds_of_harms_each_of_its_own(ledger):
    """INV-45: so that nobody empties the lists above without noticing."""
    harms = [harm for table in HARMED for harm in _harms(ledger, table)]
    harms += [*_harms(ledger), *outside_harms(ledger)]

    assert len({harm.name for harm in harms}) == len(harms)
    assert len(harms) >= 500


@pytest.mark.parametrize("kept", [0, 1])
def test_a_tail_that_was_cut_off_is_missed_only_from_outside(ledger, kept):
    """INV-45: why a copy of the checkpoints is kept where the database's keepers cannot write."""
    harm = _named(ledger, f"cut to {ledger.checkpoints[1].size + kept}")

    assert _found(ledger, harm, sinks=[]) == []
    assert _found(ledger, harm) != []


def test_keys_that_were_replaced_throughout_are_noticed_only_from_outside(ledger):
    """INV-45: the same."""
    harm = _named(ledger, "the log's keys replaced")

    assert _found(ledger, harm, sinks=[]) == []
    assert _found(ledger, harm) != []


def test_keys_that_were_pinned_are_followed_to_those_that_they_endorsed(ledger):
    old, new = ledger.keys

    assert _found(ledger, pinned=[old.verifier]) == []
    assert _found(ledger, pinned=[old.verifier, new.verifier]) == []


def test_a_pinned_key_does_not_vouch_for_those_before_it(ledger):
    """The first two checkpoints are of the old key."""
    _, new = ledger.keys

    found = _found(ledger, pinned=[new.verifier])

    assert {one.position for one in found} == {one.size for one in ledger.checkpoints[:2]}


def test_pinned_keys_are_not_replaced_by_any_that_the_ledger_names(ledger):
    """INV-45: with nothing kept but the key."""
    harm = _named(ledger, "the log's keys replaced")

    found = _found(ledger, harm, sinks=[], pinned=[ledger.keys[0].verifier])

    assert {one.where for one in found} == {"ledger_checkpoints"}
    assert [one.position for one in found] == [one.size for one in ledger.checkpoints]


def test_a_pinned_stranger_believes_nothing(ledger):
    stranger = SigningKey.generate("forge.test").verifier

    found = _found(ledger, pinned=[stranger])

    assert {one.position for one in found} == {one.size for one in ledger.checkpoints}


def test_an_erased_text_is_said_and_is_no_discrepancy(ledger, lived_shared):
    ((commitment, by),) = lived_shared.sql("SELECT commitment, erased_by FROM erasures")

    (erased,) = _report(ledger)

    assert isinstance(erased, Erased)
    assert (erased.commitment, erased.by) == (commitment, by)


def test_a_text_that_is_gone_without_an_erasure_is_a_discrepancy(ledger, lived_shared):
    """INV-45."""
    kept = lived_shared.one("SELECT commitment FROM texts ORDER BY commitment LIMIT 1")
    harm = _named(ledger, "texts: the first row deleted", CommittedText.__table__)

    (found,) = _found(ledger, harm)

    assert found.where == "texts"
    assert kept in found.meaning


def test_a_column_whose_values_nobody_knows_how_to_harm_is_an_error():
    """So that a new column is harmed as well, or asks to be."""
    stored = Stored(CommittedText.__table__, {"place": "point"}, [])

    with pytest.raises(AssertionError, match="no harm is known for values of point"):
        stored.kind("place")
