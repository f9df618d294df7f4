"""Auditing what is sealed: every leaf hashed anew, every position there, every stored tile right.

Nothing stored is believed: bodies are read and hashed here, and the tree is built from that.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from sqlalchemy import text
from sqlalchemy.engine import Row
from sqlalchemy.orm import Session

from forge_core.database import run
from forge_core.ledger.discrepancy import Discrepancy
from forge_core.ledger.merkle import HASH_SIZE, Frontier, leaf_hash, perfect_root
from forge_core.ledger.tree import TILE, TILE_BITS

CHUNK = 40 * TILE

# A block of 256 a row: a row an entry would cost more than hashing it.
_BLOCKS = text("""
    SELECT block, count(*) AS rows, count(body) AS bodies,
        string_agg(body, '' ORDER BY position) AS joined,
        array_agg(octet_length(body) ORDER BY position) AS lengths,
        string_agg(leaf, '' ORDER BY position) AS leaves,
        bool_and(position = expected) AS whole,
        bool_and(leaf IS NOT DISTINCT FROM own_leaf) AS same
    FROM (
        SELECT position, position / 256 AS block, body, ledger_order.leaf_hash AS leaf,
            ledger_entries.leaf_hash AS own_leaf,
            :first - 1 + row_number() OVER (ORDER BY position) AS expected
        FROM ledger_order LEFT JOIN ledger_entries ON id = entry_id
        WHERE position >= :first AND position < :end
    ) AS sealed
    GROUP BY block ORDER BY block
""")
_ROWS = text("""
    SELECT position, entry_id, coalesce(ledger_order.leaf_hash, '') AS leaf, body,
        coalesce(ledger_entries.leaf_hash, '') AS own_leaf
    FROM ledger_order LEFT JOIN ledger_entries ON id = entry_id
    WHERE position >= :first AND position < :end
    ORDER BY position
""")
_TILES = text("""
    SELECT level, index AS number, coalesce(root, '') AS root FROM ledger_tiles
    WHERE :whole OR (level = 0 AND index >= :first AND index < :end) ORDER BY level, index
""")


@dataclass
class TreeAudit:
    """The tree as the bodies make it, from ``frontier`` on; ``roots`` at the sizes asked for.

    A leaf that cannot be made (its entry is gone) is taken from the order, so that what follows
    can still be judged; that it was is a discrepancy of its own.
    """

    sizes: Sequence[int] = ()
    frontier: Frontier = field(default_factory=Frontier)
    roots: dict[int, bytes] = field(default_factory=dict)
    tiles: list[bytes] = field(default_factory=list)
    first_tile: int = 0

    def __post_init__(self) -> None:
        self._wanted = sorted(set(self.sizes))
        self._tail: list[bytes] = []
        self.first_tile = -(-self.frontier.size // TILE)
        self._skip = -self.frontier.size % TILE

    def read(self, session: Session, end: int) -> Iterator[Discrepancy]:
        """Read and judge the positions from the frontier to ``end``."""
        self._note_root(self.frontier.size)
        while self.frontier.size < end:
            first = self.frontier.size
            stop = min(first - first % TILE + CHUNK, end)
            for block in run(session, _BLOCKS, first=first, end=stop):
                yield from self._block(session, block, stop)
            while self.frontier.size < stop:  # positions without any row
                yield self._gap(self.frontier.size)
                self._extend([bytes(HASH_SIZE)])

    def _block(self, session: Session, block: Row[Any], end: int) -> Iterator[Discrepancy]:
        while self.frontier.size < min(block.block * TILE, end):
            yield self._gap(self.frontier.size)
            self._extend([bytes(HASH_SIZE)])
        leaves = _leaves(block) if block.bodies == block.rows else []
        if block.whole and block.same and b"".join(leaves) == bytes(block.leaves or b""):
            self._extend(leaves)
        else:
            stop = min((block.block + 1) * TILE, end)
            yield from self._row_by_row(session, self.frontier.size, stop)

    def _row_by_row(self, session: Session, first: int, end: int) -> Iterator[Discrepancy]:
        """Something in this block is wrong: what, and where."""
        expected = first
        for row in run(session, _ROWS, first=first, end=end):
            if row.position < expected:
                yield Discrepancy("ledger_order", row.position, "this position is given twice")
                continue
            while expected < row.position:
                yield self._gap(expected)
                self._extend([bytes(HASH_SIZE)])
                expected += 1
            leaf = bytes(row.leaf)
            if row.body is None:
                yield from self._disagree(expected, f"entry {row.entry_id} is gone")
                leaf = leaf if len(leaf) == HASH_SIZE else bytes(HASH_SIZE)
            else:
                leaf = leaf_hash(bytes(row.body))
                if leaf != bytes(row.leaf):
                    meaning = f"entry {row.entry_id} is not the one that was sealed here"
                    yield from self._disagree(expected, meaning)
                if leaf != bytes(row.own_leaf):
                    yield Discrepancy(
                        "ledger_entries", expected, f"entry {row.entry_id}: a wrong leaf_hash"
                    )
            self._extend([leaf])
            expected += 1

    @staticmethod
    def _gap(position: int) -> Discrepancy:
        return Discrepancy("ledger_order", position, "no entry stands at this position")

    @staticmethod
    def _disagree(position: int, meaning: str) -> Iterator[Discrepancy]:
        """Entry and order do not fit, and neither says which of the two was changed."""
        yield Discrepancy("ledger_entries", position, meaning)
        yield Discrepancy("ledger_order", position, meaning)

    def _extend(self, leaves: Sequence[bytes]) -> None:
        size = self.frontier.size
        next_wanted = self._wanted[0] if self._wanted else size + TILE
        if size % TILE == 0 and len(leaves) == TILE and next_wanted >= size + TILE:
            self.tiles.append(perfect_root(leaves))  # hashed once, for the tile and for the tree
            self.frontier.append_tree(self.tiles[-1], TILE_BITS)
            self._note_root(self.frontier.size)
            return
        start = 0
        while self._wanted and self._wanted[0] <= size + len(leaves):
            stop = self._wanted[0] - size
            if stop > start:
                self.frontier.extend(leaves[start:stop])
                start = stop
            self._note_root(self.frontier.size)
        self.frontier.extend(leaves[start:])
        self._collect(leaves)

    def _note_root(self, size: int) -> None:
        while self._wanted and self._wanted[0] <= size:
            wanted = self._wanted.pop(0)
            if wanted == size:
                self.roots[size] = self.frontier.root()

    def _collect(self, leaves: Sequence[bytes]) -> None:
        """The roots of full tiles of level 0, from the first tile that begins here."""
        skipped = min(self._skip, len(leaves))
        self._skip -= skipped
        self._tail += leaves[skipped:]
        while len(self._tail) >= TILE:
            self.tiles.append(perfect_root(self._tail[:TILE]))
            del self._tail[:TILE]

    def check_tiles(self, session: Session, *, whole: bool) -> Iterator[Discrepancy]:
        """Stored tiles against those of what was read: all there may be, if it was the whole."""
        made: dict[tuple[int, int], bytes] = {}
        level, roots = 0, self.tiles
        while roots:
            made |= {(level, self.first_tile + n): root for n, root in enumerate(roots)}
            if not whole:
                break
            full = len(roots) // TILE
            roots = [perfect_root(roots[n * TILE : (n + 1) * TILE]) for n in range(full)]
            level += 1
        last = self.first_tile + len(self.tiles)
        for row in run(session, _TILES, first=self.first_tile, end=last, whole=whole):
            root = made.pop((row.level, row.number), None)
            if root is None:
                meaning = f"tile {row.number} of level {row.level} should not be there"
            elif root != bytes(row.root):
                meaning = f"tile {row.number} of level {row.level} is not that of the entries"
            else:
                continue
            yield Discrepancy("ledger_tiles", None, meaning)
        for level, number in made:
            meaning = f"tile {number} of level {level} is gone"
            yield Discrepancy("ledger_tiles", number * TILE ** (level + 1), meaning)


def _leaves(block: Row[Any]) -> list[bytes]:
    """The leaf hashes of a block's bodies, which come as one value."""
    joined, start = bytes(block.joined or b""), 0
    hashes = []
    for length in block.lengths:
        hashes.append(sha256(b"\x00" + joined[start : start + length]).digest())
        start += length
    return hashes
