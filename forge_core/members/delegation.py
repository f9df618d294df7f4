"""Delegation: a member's weight follows an edge to whoever casts, for one type or for all.

Edges carry electorate versions, so that opening a proposal freezes them with the roll. The graph
of every type is kept free of cycles, whatever expires or is revoked later.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import text
from sqlalchemy.orm import Session

from forge_core.clock import forge_now, rfc3339
from forge_core.database import run
from forge_core.errors import Refused
from forge_core.ledger.entries import Entry, EntryKind, append
from forge_core.members.electorate import lock_version, members_now, require_member

GENERAL = "*"

_CLOSE = """
    closed AS (
        UPDATE delegations SET until_version = entry.version
        FROM entry
        WHERE delegations.delegator = entry.subject AND delegations.scope = entry.scope
            AND delegations.until_version IS NULL
    ), versioned AS (
        UPDATE electorate SET version = (SELECT max(version) FROM entry)
    )
"""

DELEGATED = EntryKind.of(
    "delegation.set",
    f"""
    WITH entry AS MATERIALIZED (
        SELECT subject, data ->> 'scope' AS scope, data ->> 'delegate' AS delegate,
            (data ->> 'version')::bigint AS version,
            (data ->> 'expires_at')::timestamptz AS expires_at
        FROM forge_entries(:ids)
    ), {_CLOSE}
    SELECT 1
    """,  # noqa: S608  # built from constants
    """
    INSERT INTO delegations (delegator, scope, from_version, delegate, expires_at)
    SELECT subject, data ->> 'scope', (data ->> 'version')::bigint, data ->> 'delegate',
        (data ->> 'expires_at')::timestamptz
    FROM forge_entries(:ids)
    """,
)

REVOKED = EntryKind.of(
    "delegation.revoked",
    f"""
    WITH entry AS MATERIALIZED (
        SELECT subject, data ->> 'scope' AS scope, (data ->> 'version')::bigint AS version
        FROM forge_entries(:ids)
    ), {_CLOSE}
    SELECT 1
    """,  # noqa: S608  # built from constants
)

_EDGES = text("""
    SELECT delegator, scope, delegate, expires_at FROM delegations
    WHERE until_version IS NULL AND (expires_at IS NULL OR expires_at > :now)
""")


@dataclass(frozen=True)
class Edge:
    """An open edge. ``expires`` matters: after it the member's general edge takes its place."""

    delegator: str
    scope: str
    delegate: str
    expires: bool


def find_cycle(edges: Iterable[Edge], *, scope: str) -> list[str] | None:
    """A cycle that can ever arise for proposals of type ``scope``, as the members along it.

    A type's edge outranks the general one until it expires, so a member with an expiring edge is
    followed along both. Iterative: chains may be as long as the membership.
    """
    specific: dict[str, Edge] = {}
    general: dict[str, Edge] = {}
    for edge in edges:
        if edge.scope == scope:
            specific[edge.delegator] = edge
        if edge.scope == GENERAL:
            general[edge.delegator] = edge
    ways: dict[str, tuple[str, ...]] = {}
    for member in specific.keys() | general.keys():
        first = specific.get(member)
        if first is None or first.expires:
            possible = [edge for edge in (first, general.get(member)) if edge is not None]
        else:
            possible = [first]
        ways[member] = tuple(edge.delegate for edge in possible)
    return _cycle(ways)


def _cycle(ways: Mapping[str, Sequence[str]]) -> list[str] | None:
    finished: set[str] = set()
    for start in ways:
        path: list[str] = []
        on_path: set[str] = set()
        stack = [(start, iter(ways[start]))] if start not in finished else []
        if stack:
            path.append(start)
            on_path.add(start)
        while stack:
            member, onward = stack[-1]
            following = next(onward, None)
            if following is None:
                stack.pop()
                path.pop()
                on_path.discard(member)
                finished.add(member)
            elif following in on_path:
                return [*path[path.index(following) :], following]
            elif following not in finished and following in ways:
                stack.append((following, iter(ways[following])))
                path.append(following)
                on_path.add(following)
    return None


def delegate_to(
    session: Session,
    delegator: str,
    delegate: str,
    *,
    scope: str,
    expires_at: datetime | None,
    command: str | None,
) -> None:
    """Set or replace the edge of ``delegator`` for ``scope`` (a proposal type, or all: ``*``).

    Refused: ``DELEGATION_TO_SELF``, ``DELEGATION_CYCLE`` (the message names it),
    ``DELEGATION_EXPIRED``, and unknown, inactive, restricted or quarantined members.
    """
    if delegator == delegate:
        raise Refused("DELEGATION_TO_SELF", "a member cannot delegate to themselves")
    version = lock_version(session) + 1  # one writer at a time sees the whole graph
    now = forge_now(session)
    if expires_at is not None and expires_at <= now:
        raise Refused("DELEGATION_EXPIRED", "expires_at lies in the past; give a later time")
    known = members_now(session, [delegator, delegate])
    require_member(known, delegator)
    require_member(known, delegate)
    edge = Edge(delegator, scope, delegate, expires=expires_at is not None)
    others = [e for e in _open_edges(session, now) if (e.delegator, e.scope) != (delegator, scope)]
    _refuse_cycles([*others, edge], scope)
    data = {
        "scope": scope,
        "delegate": delegate,
        "version": str(version),
        "expires_at": None if expires_at is None else rfc3339(expires_at),
    }
    append(session, [Entry(DELEGATED, now, delegator, delegator, data, command)])


def revoke(session: Session, delegator: str, *, scope: str, command: str | None) -> None:
    """End an edge; ``NO_DELEGATION`` when there is none.

    ``DELEGATION_CYCLE`` when the member's general edge, which takes over for this type, would
    close a cycle: change that one first.
    """
    version = lock_version(session) + 1
    now = forge_now(session)
    require_member(members_now(session, [delegator]), delegator)
    edges = _open_edges(session, now)
    remaining = [e for e in edges if (e.delegator, e.scope) != (delegator, scope)]
    if len(remaining) == len(edges):
        raise Refused("NO_DELEGATION", f"{delegator!r} has no delegation for {scope!r}")
    _refuse_cycles(remaining, scope)
    data = {"scope": scope, "version": str(version)}
    append(session, [Entry(REVOKED, now, delegator, delegator, data, command)])


def _open_edges(session: Session, now: datetime) -> list[Edge]:
    rows = run(session, _EDGES, now=now)
    return [
        Edge(row.delegator, row.scope, row.delegate, expires=row.expires_at is not None)
        for row in rows
    ]


def _refuse_cycles(edges: Sequence[Edge], scope: str) -> None:
    """A change of the general graph touches every type that has edges of its own."""
    affected = {edge.scope for edge in edges} | {GENERAL} if scope == GENERAL else {scope}
    for one in sorted(affected):
        cycle = find_cycle(edges, scope=one)
        if cycle is not None:
            raise Refused(
                "DELEGATION_CYCLE",
                "weight would run in a circle: " + " → ".join(cycle[:20]),
            )
