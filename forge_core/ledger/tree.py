"""The stored tree: leaf hashes in order, and the root of every full 256-wide tile.

A tile of level 0 is 256 leaf hashes; one of level n + 1 is the roots of 256 tiles of level n. Only
what can never change again is stored, so that every table of the tree only grows.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import text
from sqlalchemy.orm import Session

from forge_core.database import as_json, run
from forge_core.errors import Inconsistent
from forge_core.ledger.merkle import HASH_SIZE, Node, perfect_root

TILE_BITS = 8
TILE = 1 << TILE_BITS

_SIZE = text("SELECT coalesce(max(position) + 1, 0) FROM ledger_order")
_LEAVES = text("""
    SELECT string_agg(leaf_hash, '' ORDER BY position) AS hashes FROM ledger_order
    WHERE position >= :first AND position < :end
""")
_ROOTS = text("""
    SELECT string_agg(root, '' ORDER BY index) AS hashes FROM ledger_tiles
    WHERE level = :level AND index >= :first AND index < :end
""")
_ADD = text("""
    INSERT INTO ledger_tiles (level, index, root)
    SELECT level, index, decode(root, 'hex')
    FROM json_to_recordset(CAST(:rows AS json)) AS given (level smallint, index bigint, root text)
""")


def sealed_size(session: Session) -> int:
    """How many entries have a position."""
    return int(session.execute(_SIZE).scalar_one())


def read_hashes(session: Session, level: int, first: int, end: int) -> list[bytes]:
    """Hashes [first, end) of a level of tiles, as far as they are stored."""
    if level == 0:
        (row,) = run(session, _LEAVES, first=first, end=end)
    else:
        (row,) = run(session, _ROOTS, level=level - 1, first=first, end=end)
    return split_hashes(row.hashes or b"")


def split_hashes(joined: bytes) -> list[bytes]:
    """Hashes that were read as one value."""
    return [bytes(joined[n : n + HASH_SIZE]) for n in range(0, len(joined), HASH_SIZE)]


def stored_nodes(session: Session) -> Node:
    """The hash of any perfect subtree of what is sealed; each tile is read once.

    Raises ``Inconsistent`` where the stored tree has a hole.
    """
    tiles: dict[tuple[int, int], list[bytes]] = {}

    def node(level: int, index: int) -> bytes:
        height, inside = divmod(level, TILE_BITS)
        first = index << inside
        number = first >> TILE_BITS
        tile = tiles.get((height, number))
        if tile is None:
            start = number << TILE_BITS
            tile = tiles[height, number] = read_hashes(session, height, start, start + TILE)
        offset = first & (TILE - 1)
        hashes = tile[offset : offset + (1 << inside)]
        if len(hashes) != 1 << inside:
            raise Inconsistent(
                f"the stored tree lacks hashes of level {height} at {first}; "
                "run `forge ledger verify`"
            )
        return perfect_root(hashes)

    return node


def extend_tiles(session: Session, size: int, leaves: Sequence[bytes]) -> None:
    """Store the roots of all tiles that ``leaves`` complete, in a tree that had ``size`` leaves."""
    rows: list[tuple[int, int, bytes]] = []
    level, first, fresh = 0, size, list(leaves)
    while fresh:
        start = first - first % TILE
        hashes = [*read_hashes(session, level, start, first), *fresh]
        full = len(hashes) // TILE
        roots = [perfect_root(hashes[n * TILE : (n + 1) * TILE]) for n in range(full)]
        first = start // TILE
        rows += [(level, first + n, root) for n, root in enumerate(roots)]
        level, fresh = level + 1, roots
    if rows:
        given = [{"level": lv, "index": index, "root": root.hex()} for lv, index, root in rows]
        session.execute(_ADD, {"rows": as_json(given)})
