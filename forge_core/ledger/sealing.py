"""Sealing: entries that are committed get positions, each once, and the tree grows by them.

What waits stands in a table of its own that is emptied here. Following ``id > last`` would lose
the entries of transactions that commit late: their numbers are smaller than numbers seen before.

Positions follow the order of effects. Of two steps that touch the same thing the second appends
after the first has committed, so whoever sees the second's entries sees the first's too, and those
have the smaller numbers.
"""

from __future__ import annotations

from sqlalchemy import text
from sqlalchemy.orm import Session

from forge_core.database import run
from forge_core.failpoints import reach
from forge_core.ledger.tree import extend_tiles, sealed_size, split_hashes
from forge_core.locks import try_lock_name

MOST_ENTRIES = 10_000
LOCK = "ledger.seal"

# The row's own snapshot says what is committed: nothing half done can be taken.
_TAKE = text("""
    WITH taken AS (
        DELETE FROM ledger_unsealed WHERE entry_id IN (
            SELECT entry_id FROM ledger_unsealed ORDER BY entry_id LIMIT :limit
        )
        RETURNING entry_id
    ), placed AS (
        INSERT INTO ledger_order (position, entry_id, leaf_hash)
        SELECT :size + row_number() OVER (ORDER BY entry_id) - 1, entry_id, leaf_hash
        FROM taken JOIN ledger_entries ON id = entry_id
        RETURNING position, leaf_hash
    )
    SELECT count(*) AS sealed, string_agg(leaf_hash, '' ORDER BY position) AS leaves,
        (SELECT count(*) FROM taken) AS taken
    FROM placed
""")


def seal(session: Session, most: int = MOST_ENTRIES) -> bool:
    """Give positions to up to ``most`` waiting entries; True when a full load suggests more.

    Running it twice, or at once, is safe: one sealer holds the lock (a row, until its transaction
    ends), the other has nothing to do, and what has a position waits no more.
    """
    if not try_lock_name(session, LOCK):
        return False
    size = sealed_size(session)
    reach("seal.locked")
    (placed,) = run(session, _TAKE, limit=most, size=size)
    reach("seal.placed")
    if placed.sealed:
        extend_tiles(session, size, split_hashes(placed.leaves))
    reach("seal.extended")
    return bool(placed.taken == most)
