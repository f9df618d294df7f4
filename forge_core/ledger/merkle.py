"""The Merkle tree of RFC 9162, section 2.1: roots, proofs, and what a holder of them checks.

Pure functions. Whoever builds a proof says with a ``Node`` where hashes are kept; whoever checks
one trusts nothing but checkpoints, and may be handed anything at all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import reduce
from hashlib import sha256
from itertools import islice
from typing import Final

HASH_SIZE: Final = 32
EMPTY_ROOT: Final = sha256().digest()

Node = Callable[[int, int], bytes]
"""``node(level, index)``: the root over leaves [index << level, (index + 1) << level), all there.

Level 0 is the leaf hashes.
"""

_ROW: Final = 1024  # longer rows are no faster
_SIZE_END: Final = 2**63
_MOST_NODES: Final = 64  # of any proof in a tree below _SIZE_END


def leaf_hash(body: bytes) -> bytes:
    """SHA-256(0x00 || body), section 2.1.1. The prefix keeps a leaf from passing for a node."""
    return sha256(b"\x00" + body).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """SHA-256(0x01 || left || right), section 2.1.1. Both are 32 bytes; that is not checked."""
    return sha256(b"\x01" + left + right).digest()


def perfect_root(hashes: Sequence[bytes]) -> bytes:
    """Root over 2**k hashes of one level, such as a full tile.

    Raises ``ValueError`` for any other number of hashes, or one that is not 32 bytes.
    """
    if len(hashes).bit_count() != 1:
        raise ValueError(f"a perfect tree has 1, 2, 4, 8, ... leaves, not {len(hashes)}")
    _check_hashes(hashes)
    while len(hashes) > 1:
        hashes = _parents(hashes)
    return hashes[0]


def root(size: int, node: Node) -> bytes:
    """Root of the first ``size`` leaves, ``EMPTY_ROOT`` for 0.

    Raises ``ValueError`` for a negative size.
    """
    if size < 0:
        raise ValueError(f"a tree has 0 or more leaves, not {size}")
    return _range_root(0, size, node) if size else EMPTY_ROOT


def inclusion_proof(index: int, size: int, node: Node) -> list[bytes]:
    """PATH(index, D[size]) of section 2.1.3.1: siblings from the leaf up to the root.

    ``index`` counts from 0. Raises ``ValueError`` unless 0 <= index < size.
    """
    if not 0 <= index < size:
        raise ValueError(f"no leaf {index} in a tree of {size}; 0 <= index < size")
    return _siblings(index, index + 1, size, node)


def consistency_proof(size1: int, size2: int, node: Node) -> list[bytes]:
    """PROOF(size1, D[size2]) of section 2.1.4.1: the second tree only added to the first.

    Empty for equal sizes. Raises ``ValueError`` unless 0 < size1 <= size2.
    """
    if not 0 < size1 <= size2:
        raise ValueError(f"sizes {size1} and {size2} are not 0 < size1 <= size2")
    if size1 == size2:
        return []
    level = _level_of_last_peak(size1)
    start = size1 - (1 << level)
    path = _siblings(start, size1, size2, node)
    # A peak that starts at 0 is the whole first tree, whose root the verifier has already.
    return [node(level, start >> level), *path] if start else path


class Frontier:
    """A growing tree that keeps only what later roots need: one hash per bit set in its size.

    ``peaks`` are the roots of its perfect subtrees, largest first. A frontier continues from the
    size and peaks of an earlier one; ``ValueError`` if the two do not fit together.
    """

    __slots__ = ("peaks", "size")

    def __init__(self, size: int = 0, peaks: Iterable[bytes] = ()) -> None:
        self.size = size
        self.peaks = tuple(peaks)
        if size < 0 or len(self.peaks) != size.bit_count():
            raise ValueError(f"a tree of {size} leaves does not have {len(self.peaks)} peaks")
        _check_hashes(self.peaks)

    def append(self, leaf: bytes) -> None:
        """Add one leaf hash; ``extend`` is several times faster for many."""
        self.extend((leaf,))

    def extend(self, leaves: Iterable[bytes]) -> None:
        """Add leaf hashes in order, a row of at most 1,024 at a time.

        Raises ``ValueError`` for one that is not 32 bytes; the rows before its own stay.
        """
        leaves = iter(leaves)
        while row := list(islice(leaves, _ROW)):
            _check_hashes(row)
            self._add_row(row)

    def append_tree(self, root: bytes, level: int) -> None:
        """Add the root over the next 2**level leaves, hashed by the caller.

        Raises ``ValueError`` unless such a tree can begin at this size.
        """
        size, inside = divmod(self.size, 1 << level)
        if inside:
            raise ValueError(f"no tree over 2**{level} leaves begins after {self.size}")
        peaks = list(self.peaks)
        while size & 1:
            root = node_hash(peaks.pop(), root)
            size >>= 1
        self.size, self.peaks = self.size + (1 << level), (*peaks, root)

    def _add_row(self, row: list[bytes]) -> None:
        size, peaks, complete = self.size + len(row), list(self.peaks), []
        level_size = self.size
        while row:
            if level_size & 1:
                row.insert(0, peaks.pop())
            if len(row) & 1:
                complete.append(row.pop())
            row = _parents(row)
            level_size >>= 1
        self.size, self.peaks = size, (*peaks, *reversed(complete))

    def root(self) -> bytes:
        """Root of all leaves so far, ``EMPTY_ROOT`` if there are none."""
        return _join(self.peaks) if self.peaks else EMPTY_ROOT


def verify_inclusion(
    leaf_hash: bytes, index: int, size: int, proof: list[bytes] | tuple[bytes, ...], root: bytes
) -> bool:
    """Whether ``leaf_hash`` is leaf ``index`` of the tree with this size and root (2.1.3.2).

    False, never an exception, for arguments of any other type or form. Size and root must come
    from one checkpoint: some proofs fit a neighbouring size as well, so none proves the size.
    """
    if not _well_formed((index, size), (leaf_hash, root), proof) or index >= size:
        return False
    sides = list(_sides(index, size - 1))
    if len(sides) != len(proof):
        return False
    for is_left, sibling in zip(sides, proof, strict=True):
        pair = (sibling, leaf_hash) if is_left else (leaf_hash, sibling)
        leaf_hash = node_hash(*pair)
    return leaf_hash == root


def verify_consistency(
    size1: int, root1: bytes, size2: int, root2: bytes, proof: list[bytes] | tuple[bytes, ...]
) -> bool:
    """Whether the tree of ``size2`` starts with all leaves of the tree of ``size1`` (2.1.4.2).

    False, never an exception, for arguments of any other type or form, and for ``size1`` 0, of
    which there is nothing to prove. Sizes and roots must come from checkpoints, as above.
    """
    if not _well_formed((size1, size2), (root1, root2), proof) or not 0 < size1 <= size2:
        return False
    if size1 == size2:
        return not proof and root1 == root2
    level = _level_of_last_peak(size1)
    # The climb starts at the first tree's last peak; a proof leaves it out where it is root1.
    nodes: list[bytes] = [root1, *proof] if size1 == 1 << level else [*proof]
    sides = list(_sides((size1 - 1) >> level, (size2 - 1) >> level))
    if len(nodes) != len(sides) + 1:
        return False
    old = new = nodes[0]
    for is_left, sibling in zip(sides, nodes[1:], strict=True):
        if is_left:
            old, new = node_hash(sibling, old), node_hash(sibling, new)
        else:
            new = node_hash(new, sibling)
    return old == root1 and new == root2


def _well_formed(
    numbers: Iterable[object], hashes: Iterable[object], proof: Sequence[object]
) -> bool:
    """Exact types only: a subclass could answer anything, or raise, or never end."""
    return (
        (type(proof) is list or type(proof) is tuple)
        and len(proof) <= _MOST_NODES
        and all(type(number) is int and 0 <= number < _SIZE_END for number in numbers)
        and all(type(hash_) is bytes and len(hash_) == HASH_SIZE for hash_ in (*hashes, *proof))
    )


def _sides(index: int, last: int) -> Iterator[bool]:
    """For each sibling from node ``index`` up to the root: whether it is on the left.

    ``last`` is the index of the last node of the same level.
    """
    while last:
        is_left = bool(index & 1) or index == last
        yield is_left
        # The last node of an odd row has no sibling there: it moves up until it is a right child.
        while is_left and index and not index & 1:
            index, last = index >> 1, last >> 1
        index, last = index >> 1, last >> 1


def _level_of_last_peak(size: int) -> int:
    """Level of the smallest perfect subtree, the one at the end, of a tree of ``size`` leaves."""
    return (size & -size).bit_length() - 1


def _siblings(first: int, stop: int, size: int, node: Node) -> list[bytes]:
    """Roots of the subtrees beside the way from the perfect subtree [first, stop) to the root."""
    path = []
    start, end = 0, size
    while end - start > stop - first:
        # Section 2.1.1 splits after the largest power of two smaller than the range.
        middle = start + (1 << (end - start - 1).bit_length() - 1)
        if first < middle:
            path.append(_range_root(middle, end, node))
            end = middle
        else:
            path.append(_range_root(start, middle, node))
            start = middle
    return path[::-1]


def _range_root(start: int, end: int, node: Node) -> bytes:
    """Root over leaves [start, end), one side of a split, so that its peaks are stored nodes."""
    peaks = []
    while start < end:
        level = (end - start).bit_length() - 1
        peaks.append(node(level, start >> level))
        start += 1 << level
    return _join(peaks)


def _join(peaks: Sequence[bytes]) -> bytes:
    return reduce(lambda right, left: node_hash(left, right), reversed(peaks))


def _parents(hashes: Sequence[bytes]) -> list[bytes]:
    """The next row up, of an even number of hashes."""
    sha = sha256
    pairs = zip(hashes[::2], hashes[1::2], strict=True)
    return [sha(b"\x01" + left + right).digest() for left, right in pairs]


def _check_hashes(hashes: Sequence[bytes]) -> None:
    if {*map(type, hashes)} - {bytes} or {*map(len, hashes)} - {HASH_SIZE}:
        raise ValueError(f"a hash is {HASH_SIZE} bytes")
