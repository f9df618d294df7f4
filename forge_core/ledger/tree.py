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
_TILES_OF = text("""
    SELECT height, number, CASE height
        WHEN 0 THEN (
            SELECT string_agg(leaf_hash, '' ORDER BY position) FROM ledger_order
            WHERE position >= number * 256 AND position < (number + 1) * 256
        )
        ELSE (
            SELECT string_agg(root, '' ORDER BY index) FROM ledger_tiles
            WHERE level = height - 1 AND index >= number * 256 AND index < (number + 1) * 256
        )
    END AS hashes
    FROM json_to_recordset(CAST(:wanted AS json)) AS wanted (height smallint, number bigint)
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
    whole = bytes(joined)
    return [whole[n : n + HASH_SIZE] for n in range(0, len(whole), HASH_SIZE)]


def stored_nodes(session: Session, *near: int) -> Node:
    """The hash of any perfect subtree of what is sealed; each tile is read once.

    The tiles above the positions ``near`` are read at once: a proof needs no others. Raises
    ``Inconsistent`` where the stored tree has a hole.
    """
    tiles = _read_tiles(session, near) if near else {}

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


def _read_tiles(session: Session, near: Sequence[int]) -> dict[tuple[int, int], list[bytes]]:
    """Every tile above these positions, by height and number."""
    heights = range(max(near).bit_length() // TILE_BITS + 1)
    wanted = sorted({(h, position >> TILE_BITS * (h + 1)) for h in heights for position in near})
    given = [{"height": height, "number": number} for height, number in wanted]
    return {
        (row.height, row.number): split_hashes(row.hashes or b"")
        for row in run(session, _TILES_OF, wanted=as_json(given))
    }


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
