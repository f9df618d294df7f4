"""What members hold, and the rolls made of it: voting by balance instead of by trust.

The second seed's formula: a share of the coins (70 %) plus the rest (30 %) of the best measure of
what was donated: minutes, tokens / 10,000, or usd * 100. A registered source reports the holdings;
no voter ever states their own. A draft that names ``balance:<source>`` gets its roll at opening:
immutable, hashed, and shared by all that open before the source reports again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from fractions import Fraction
from typing import Final

from sqlalchemy import text
from sqlalchemy.orm import Session

from forge_core.database import run
from forge_core.errors import Refused
from forge_core.exact import parse_decimal, to_decimal_string
from forge_core.ledger.entries import Entry, EntryKind, append
from forge_core.locks import lock_name
from forge_core.members.imported import BALANCE, roll_digest
from forge_core.members.sources import require_source
from forge_core.text import require_id

DIGITS_MOST: Final = 40
MEASURES: Final = ("coins", "minutes", "tokens", "usd")

HOLDINGS_REPORTED = EntryKind.of(
    "holdings.reported",
    """
    INSERT INTO holdings (source, member_id, coins, minutes, tokens, usd)
    SELECT subject, held ->> 0, (held ->> 1)::numeric, (held ->> 2)::numeric,
        (held ->> 3)::numeric, (held ->> 4)::numeric
    FROM forge_entries(:ids), jsonb_array_elements(data -> 'holdings') AS held
    ON CONFLICT (source, member_id) DO UPDATE
    SET coins = excluded.coins, minutes = excluded.minutes, tokens = excluded.tokens,
        usd = excluded.usd
    """,
    """
    INSERT INTO holdings_reports (source, version, reported_at)
    SELECT subject, 1, at FROM forge_entries(:ids)
    ON CONFLICT (source) DO UPDATE
    SET version = holdings_reports.version + 1, reported_at = excluded.reported_at
    """,
)

# Whoever weighs nothing, is inactive or at level QUARANTINE is in no roll.
_WEIGHED = """
    SELECT member_id, {share} * coins + (1 - {share})
        * greatest(minutes, tokens * 0.0001, usd * 100) AS weight
    FROM holdings JOIN members ON members.id = member_id
    WHERE source = {source} AND active AND level <> 'QUARANTINE'
"""
_FOLDED = _WEIGHED.format(share="(data ->> 'coin_share')::numeric", source="data ->> 'source'")

MATERIALISED = EntryKind.of(
    "electorate.materialised",
    f"""
    INSERT INTO imported_weights (electorate_id, member_id, weight)
    SELECT subject, weighed.member_id, weighed.weight
    FROM forge_entries(:ids), LATERAL ({_FOLDED}) AS weighed
    WHERE weighed.weight > 0
    """,  # noqa: S608  # built from constants
    """
    INSERT INTO imported_electorates (id, members, weight, sealed_at, digest)
    SELECT subject, (data ->> 'members')::bigint, (data ->> 'weight')::numeric, at,
        data ->> 'digest'
    FROM forge_entries(:ids)
    """,
)

# Levels count as well: who is at QUARANTINE now is in no roll made now.
_ELECTORATE = text("SELECT version FROM electorate")
_VERSION = text("SELECT version FROM holdings_reports WHERE source = :source")
_SEALED = text("SELECT FROM imported_electorates WHERE id = :id")
_PRESENT = _WEIGHED.format(share="CAST(:share AS numeric)", source=":source")
_ROLL = text(f"""
    SELECT member_id, weight FROM ({_PRESENT}) AS weighed
    WHERE weight > 0 ORDER BY member_id COLLATE "C"
""")  # noqa: S608  # built from constants
_HOLDING = text("""
    SELECT coins, minutes, tokens, usd FROM holdings
    WHERE source = :source AND member_id = :member
""")


@dataclass(frozen=True)
class BalancePower:
    """What a member's ballot weighs by balance, and why. Exact decimals as text."""

    source: str
    coins: str
    minutes: str
    tokens: str
    usd: str
    donation: str
    weight: str


def is_balance_roll(electorate: object) -> bool:
    """Whether an electorate is named by its source, to be made at opening."""
    return isinstance(electorate, str) and electorate.startswith(BALANCE)


def require_balance_source(session: Session, electorate: str) -> str:
    """The source that ``balance:<source>`` names. ``SOURCE_UNKNOWN``, ``HOLDINGS_UNKNOWN``."""
    source = require_id("source", electorate.removeprefix(BALANCE))
    require_source(session, source)
    if session.execute(_VERSION, {"source": source}).scalar_one_or_none() is None:
        raise Refused("HOLDINGS_UNKNOWN", f"source {source!r} has reported no holdings yet")
    return source


def report(
    session: Session,
    source: str,
    holdings: Sequence[Sequence[object]],
    *,
    actor: str,
    at: datetime,
    command: str | None,
) -> None:
    """Set what members hold, from a registered source.

    ``holdings``: (member, coins, minutes, tokens, usd), amounts exact and ≥ 0. Refused:
    ``SOURCE_UNKNOWN``, ``MEMBER_TWICE``, bad ids and numbers. The same report again changes
    nothing but the report's number.
    """
    require_source(session, source)
    rows = [
        [require_id("member", member), *(_amount(amount) for amount in amounts)]
        for member, *amounts in holdings
    ]
    if len({row[0] for row in rows}) != len(rows):
        raise Refused("MEMBER_TWICE", "this report names a member twice")
    lock_name(session, f"holdings.{source}")
    append(session, [Entry(HOLDINGS_REPORTED, at, actor, source, {"holdings": rows}, command)])


def materialise(session: Session, electorate: str, *, coin_share: Fraction, at: datetime) -> str:
    """The sealed roll of ``balance:<source>`` as its source stands now; returns the roll's id.

    Made once for each report of the source; asked again it is the same roll. The caller holds
    the electorate's row, so that nobody's level changes meanwhile.
    """
    source = require_balance_source(session, electorate)
    lock_name(session, f"holdings.{source}")
    version = session.execute(_VERSION, {"source": source}).scalar_one()
    share = to_decimal_string(coin_share)
    id_ = f"{electorate}@{version}.{session.execute(_ELECTORATE).scalar_one()}.{share}"
    if session.execute(_SEALED, {"id": id_}).one_or_none() is None:
        roll = present_roll(session, source, coin_share=coin_share)
        data = {
            "source": source,
            "version": str(version),
            "coin_share": share,
            "members": str(len(roll)),
            "weight": to_decimal_string(sum((Fraction(weight) for _, weight in roll), Fraction(0))),
            "digest": roll_digest(roll),
        }
        append(session, [Entry(MATERIALISED, at, "rule:electorate", id_, data)])
    return id_


def present_roll(
    session: Session, source: str, *, coin_share: Fraction
) -> list[tuple[str, Decimal]]:
    """Who would be in a roll made of a source's holdings now, with what weight, in id order."""
    rows = run(session, _ROLL, source=source, share=to_decimal_string(coin_share))
    return [(row.member_id, row.weight) for row in rows]


def balance_power(
    session: Session, source: str, member: str, *, coin_share: Fraction
) -> BalancePower | None:
    """A member's weight by balance with its breakdown; None when the source does not know them."""
    row = session.execute(_HOLDING, {"source": source, "member": member}).one_or_none()
    if row is None:
        return None
    coins, minutes, tokens, usd = (Fraction(amount) for amount in row)
    donation = max(minutes, tokens / 10_000, usd * 100)
    weight = coin_share * coins + (1 - coin_share) * donation
    shown = [to_decimal_string(n) for n in (coins, minutes, tokens, usd, donation, weight)]
    return BalancePower(source, *shown)


def _amount(value: object) -> str:
    number = parse_decimal(value, name="an amount", most_digits=DIGITS_MOST)
    if number < 0:
        raise Refused("NUMBER_INVALID", "an amount is never negative")
    return to_decimal_string(number)
