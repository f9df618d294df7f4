"""RFC 9162 section 2.1: against its vectors, a second implementation, and everything altered."""

from __future__ import annotations

import hashlib
import time
from functools import cache
from itertools import combinations, product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forge_core.ledger.merkle import (
    EMPTY_ROOT,
    HASH_SIZE,
    Frontier,
    consistency_proof,
    inclusion_proof,
    leaf_hash,
    node_hash,
    perfect_root,
    root,
    verify_consistency,
    verify_inclusion,
)

# The leaves, hashes and proofs that Certificate Transparency implementations share.
VECTOR_LEAVES = [
    bytes.fromhex(leaf)
    for leaf in (
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
]
VECTOR_ROOTS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
VECTOR_NODES = {
    (0, 0): "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    (0, 1): "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
    (0, 2): "0298d122906dcfc10892cb53a73992fc5b9f493ea4c9badb27b791b4127a7fe7",
    (0, 3): "07506a85fd9dd2f120eb694f86011e5bb4662e5c415a62917033d4a9624487e7",
    (0, 4): "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
    (0, 5): "4271a26be0d8a84f0bd54c8c302e7cb3a3b5d1fa6780a40bcce2873477dab658",
    (0, 6): "b08693ec2e721597130641e8211e7eedccb4c26413963eee6c1e2ed16ffb1a5f",
    (0, 7): "46f6ffadd3d06a09ff3c5860d2755c8b9819db7df44251788c7d8e3180de8eb1",
    (1, 0): "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    (1, 1): "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
    (1, 2): "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
    (1, 3): "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
    (2, 0): "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    (2, 1): "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
    (3, 0): "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
}
# Steps of the tree over eight leaves, from the leaf up.
VECTOR_INCLUSIONS = [(0, 8, [(0, 1), (1, 1), (2, 1)])]
VECTOR_CONSISTENCIES = [
    (1, 8, [(0, 1), (1, 1), (2, 1)]),
    (3, 8, [(0, 2), (0, 3), (1, 0), (2, 1)]),
]

ALL_SIZES = range(1, 131)
# Both sides of every shape: perfect trees, one more, one less, and ragged edges.
ALTERED_SIZES = (1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 13, 16, 17, 21)
ANY_SIZES = st.lists(st.integers(1, 2**63 - 1), min_size=2, max_size=2).map(sorted)


def leaf(index: int) -> bytes:
    return hashlib.sha256(b"\x00" + b"body %d" % index).digest()


def split(count: int) -> int:
    """The largest power of two smaller than ``count``, found by doubling."""
    power = 1
    while power * 2 < count:
        power *= 2
    return power


@cache
def mth(start: int, end: int) -> bytes:
    """MTH(D[start:end]), word for word from section 2.1.1."""
    if start == end:
        return hashlib.sha256(b"").digest()
    if end - start == 1:
        return leaf(start)
    k = split(end - start)
    return hashlib.sha256(b"\x01" + mth(start, start + k) + mth(start + k, end)).digest()


def path_of(m: int, start: int, end: int) -> list[bytes]:
    """PATH(m, D[start:end]), section 2.1.3.1; ``m`` counts from ``start``."""
    if end - start == 1:
        return []
    k = split(end - start)
    if m < k:
        return [*path_of(m, start, start + k), mth(start + k, end)]
    return [*path_of(m - k, start + k, end), mth(start, start + k)]


def subproof(m: int, start: int, end: int, *, known: bool) -> list[bytes]:
    """SUBPROOF(m, D[start:end], known), section 2.1.4.1; ``m`` counts from ``start``."""
    if m == end - start:
        return [] if known else [mth(start, end)]
    k = split(end - start)
    if m <= k:
        return [*subproof(m, start, start + k, known=known), mth(start + k, end)]
    return [*subproof(m - k, start + k, end, known=False), mth(start, start + k)]


def node(level: int, index: int) -> bytes:
    return mth(index << level, (index + 1) << level)


def vector_node(level: int, index: int) -> bytes:
    return bytes.fromhex(VECTOR_NODES[level, index])


class Counted:
    """A store that counts what it is asked, and has nothing beyond the leaves it holds."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.calls = 0

    def __call__(self, level: int, index: int) -> bytes:
        assert level >= 0
        assert index >= 0
        assert (index + 1) << level <= self.size
        self.calls += 1
        return b"\xaa" * HASH_SIZE


def grown(leaves) -> Frontier:
    tree = Frontier()
    tree.extend(leaves)
    return tree


def flipped(hash_: bytes) -> bytes:
    return hash_[:-1] + bytes([hash_[-1] ^ 1])


def altered_proofs(proof: list[bytes]):
    """Every list that is one slip away from ``proof``."""
    other = leaf(10**6)
    for at in range(len(proof)):
        before, hash_, after = proof[:at], proof[at], proof[at + 1 :]
        yield [*before, *after]
        yield [*before, hash_, hash_, *after]
        for wrong in (
            flipped(hash_), bytes([hash_[0] ^ 0x80]) + hash_[1:], other, hash_[:-1], hash_ + b"\0",
            b"", bytearray(hash_), memoryview(hash_), hash_.hex(), None, 0, [hash_],
        ):  # fmt: skip
            yield [*before, wrong, *after]
    for at in range(len(proof) + 1):
        yield [*proof[:at], other, *proof[at:]]
        yield [*proof[:at], None, *proof[at:]]
    for low, high in combinations(range(len(proof)), 2):
        swapped = proof.copy()
        swapped[low], swapped[high] = proof[high], proof[low]
        yield swapped


def altered_hashes(hash_: bytes):
    return [
        flipped(hash_), leaf(10**6), EMPTY_ROOT, b"", hash_[:-1], hash_ + b"\0", bytearray(hash_),
        memoryview(hash_), hash_.hex(), None, True, 0,
    ]  # fmt: skip


@pytest.mark.parametrize("size", range(9))
def test_the_root_is_that_of_the_vectors(size):
    assert grown(map(leaf_hash, VECTOR_LEAVES[:size])).root().hex() == VECTOR_ROOTS[size]


@pytest.mark.parametrize("size", range(9))
def test_the_root_of_kept_nodes_is_that_of_the_vectors(size):
    assert root(size, vector_node).hex() == VECTOR_ROOTS[size]


@pytest.mark.parametrize(("level", "index"), VECTOR_NODES)
def test_a_perfect_subtree_is_that_of_the_vectors(level, index):
    bodies = VECTOR_LEAVES[index << level : (index + 1) << level]
    assert perfect_root([leaf_hash(body) for body in bodies]) == vector_node(level, index)


def test_the_hashers_are_those_of_the_vectors():
    assert leaf_hash(b"L123456").hex() == (
        "395aa064aa4c29f7010acfe3f25db9485bbd4b91897b6ad7ad547639252b4d56"
    )
    assert node_hash(b"N123", b"N456").hex() == (
        "aa217fe888e47007fa15edab33c2b492a722cb106c64667fc2b044444de66bbb"
    )


@pytest.mark.parametrize(("index", "size", "steps"), VECTOR_INCLUSIONS)
def test_an_inclusion_proof_is_that_of_the_vectors(index, size, steps):
    proof = inclusion_proof(index, size, vector_node)
    assert proof == [vector_node(*step) for step in steps]
    known = bytes.fromhex(VECTOR_ROOTS[size])
    assert verify_inclusion(leaf_hash(VECTOR_LEAVES[index]), index, size, proof, known)


@pytest.mark.parametrize(("size1", "size2", "steps"), VECTOR_CONSISTENCIES)
def test_a_consistency_proof_is_that_of_the_vectors(size1, size2, steps):
    proof = consistency_proof(size1, size2, vector_node)
    assert proof == [vector_node(*step) for step in steps]
    root1, root2 = (bytes.fromhex(VECTOR_ROOTS[size]) for size in (size1, size2))
    assert verify_consistency(size1, root1, size2, root2, proof)


def test_every_small_tree_has_the_root_of_the_rfc():
    assert root(0, node) == EMPTY_ROOT
    for size in ALL_SIZES:
        assert root(size, node) == mth(0, size)


def test_every_small_inclusion_proof_is_that_of_the_rfc_and_verifies():
    for size in ALL_SIZES:
        for index in range(size):
            proof = inclusion_proof(index, size, node)
            assert proof == path_of(index, 0, size)
            assert verify_inclusion(leaf(index), index, size, proof, mth(0, size)) is True


def test_every_small_consistency_proof_is_that_of_the_rfc_and_verifies():
    for size2 in ALL_SIZES:
        for size1 in range(1, size2 + 1):
            proof = consistency_proof(size1, size2, node)
            assert proof == subproof(size1, 0, size2, known=True)
            assert (
                verify_consistency(size1, mth(0, size1), size2, mth(0, size2), tuple(proof)) is True
            )


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_proofs_in_larger_trees_are_those_of_the_rfc_and_verify(data):
    size = data.draw(st.integers(131, 5000) | st.sampled_from([255, 256, 257, 4095, 4096, 4097]))
    index = data.draw(st.integers(0, size - 1) | st.just(size - 1))
    path = inclusion_proof(index, size, node)
    assert path == path_of(index, 0, size)
    assert verify_inclusion(leaf(index), index, size, path, mth(0, size))
    size1 = index + 1
    proof = consistency_proof(size1, size, node)
    assert proof == subproof(size1, 0, size, known=True)
    assert verify_consistency(size1, mth(0, size1), size, mth(0, size), proof)


@given(ANY_SIZES)
def test_roots_and_proofs_ask_for_few_nodes_however_large_the_tree(sizes):
    size1, size2 = sizes
    for ask in (
        lambda counted: root(size2, counted),
        lambda counted: inclusion_proof(size1 - 1, size2, counted),
        lambda counted: consistency_proof(size1, size2, counted),
    ):
        counted = Counted(size2)
        ask(counted)
        assert counted.calls <= 2 * size2.bit_length()


@given(ANY_SIZES)
def test_proofs_in_a_tree_of_any_size_verify(sizes):
    size1, size2 = sizes
    same = [b"\x07" * HASH_SIZE]
    while len(same) < 64:
        same.append(node_hash(same[-1], same[-1]))

    def every_leaf_the_same(level, _):
        return same[level]

    root1, root2 = root(size1, every_leaf_the_same), root(size2, every_leaf_the_same)
    path = inclusion_proof(size1 - 1, size2, every_leaf_the_same)
    assert verify_inclusion(same[0], size1 - 1, size2, path, root2)
    proof = consistency_proof(size1, size2, every_leaf_the_same)
    assert verify_consistency(size1, root1, size2, root2, proof)


@pytest.mark.parametrize(("index", "size"), [(0, 0), (-1, 3), (3, 3), (4, 3), (0, -1), (-1, -1)])
def test_no_inclusion_proof_beyond_the_tree(index, size):
    with pytest.raises(ValueError, match="0 <= index < size"):
        inclusion_proof(index, size, node)


@pytest.mark.parametrize(("size1", "size2"), [(0, 0), (0, 3), (-1, 3), (4, 3), (1, 0), (-2, -1)])
def test_no_consistency_proof_from_nothing_or_backwards(size1, size2):
    with pytest.raises(ValueError, match="0 < size1 <= size2"):
        consistency_proof(size1, size2, node)


def test_no_root_of_a_negative_size():
    with pytest.raises(ValueError, match="0 or more"):
        root(-1, node)


def test_a_perfect_root_is_that_of_the_rfc():
    for level in range(11):
        assert perfect_root([leaf(at) for at in range(1 << level)]) == mth(0, 1 << level)


@pytest.mark.parametrize("count", [0, 3, 5, 6, 7, 9, 255, 257])
def test_no_perfect_root_of_any_other_number_of_hashes(count):
    with pytest.raises(ValueError, match="perfect tree"):
        perfect_root([leaf(0)] * count)


@pytest.mark.parametrize(
    "wrong", [b"", leaf(0)[:-1], leaf(0) + b"\0", "x" * 32, bytearray(leaf(0)), None, 32]
)
def test_what_is_not_32_bytes_joins_no_tree(wrong):
    with pytest.raises(ValueError, match="32 bytes"):
        perfect_root([leaf(0), wrong])
    with pytest.raises(ValueError, match="32 bytes"):
        Frontier(1, [wrong])
    tree = grown([leaf(0)])
    with pytest.raises(ValueError, match="32 bytes"):
        tree.append(wrong)
    assert (tree.size, tree.root()) == (1, leaf(0))


def test_an_empty_frontier_has_the_empty_root():
    tree = Frontier()
    tree.extend([])
    assert (tree.size, tree.peaks, tree.root()) == (0, (), EMPTY_ROOT)


def test_a_frontier_grown_leaf_by_leaf_always_has_the_root_of_its_size():
    tree = Frontier()
    for size in ALL_SIZES:
        tree.append(leaf(size - 1))
        assert (tree.size, tree.root()) == (size, mth(0, size))


def test_a_frontier_keeps_the_perfect_subtrees_largest_first():
    tree = grown(leaf(at) for at in range(0b1011))
    assert tree.peaks == (mth(0, 8), mth(8, 10), mth(10, 11))


def test_a_frontier_extended_in_two_parts_has_the_root_of_both():
    leaves = [leaf(at) for at in range(70)]
    for size in range(71):
        for part in range(size + 1):
            tree = grown(leaves[:part])
            tree.extend(leaves[part:size])
            assert (tree.size, tree.root()) == (size, mth(0, size))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 1500) | st.sampled_from([1, 1023, 1024, 1025, 2048]), max_size=6))
def test_a_frontier_extended_in_any_parts_has_the_root_of_all(parts):
    tree = Frontier()
    for part in parts:
        end = tree.size + part
        tree.extend(leaf(at) for at in range(tree.size, end))
        assert (tree.size, tree.root()) == (end, mth(0, end))


def test_a_frontier_continues_from_kept_peaks():
    for size in range(40):
        before = grown(leaf(at) for at in range(size))
        tree = Frontier(before.size, before.peaks)
        tree.extend(leaf(at) for at in range(size, 50))
        assert tree.root() == mth(0, 50)


@pytest.mark.parametrize(("size", "count"), [(0, 1), (1, 0), (3, 1), (4, 2), (-1, 1)])
def test_a_frontier_refuses_peaks_of_another_size(size, count):
    with pytest.raises(ValueError, match="peaks"):
        Frontier(size, [leaf(0)] * count)


def test_a_frontier_is_whole_after_leaves_that_fail():
    def failing():
        yield leaf(3)
        raise RuntimeError

    tree = grown(leaf(at) for at in range(3))
    with pytest.raises(RuntimeError):
        tree.extend(failing())
    with pytest.raises(ValueError, match="32 bytes"):
        tree.extend([leaf(3), None])
    tree.append(leaf(3))
    assert (tree.size, tree.root()) == (4, mth(0, 4))


def test_every_altered_inclusion_proof_is_refused():
    for size in ALTERED_SIZES:
        for index in range(size):
            proof = path_of(index, 0, size)
            for wrong in altered_proofs(proof):
                assert verify_inclusion(leaf(index), index, size, wrong, mth(0, size)) is False


def test_an_inclusion_proof_holds_for_its_leaf_index_and_root_only():
    for size in ALTERED_SIZES:
        for index in range(size):
            proof, known = path_of(index, 0, size), mth(0, size)
            for other in range(-2, 2 * size + 2):
                if other != index:
                    assert verify_inclusion(leaf(index), other, size, proof, known) is False
                    assert verify_inclusion(leaf(other), index, size, proof, known) is False
            for wrong in altered_hashes(leaf(index)):
                assert verify_inclusion(wrong, index, size, proof, known) is False
            for wrong in altered_hashes(known):
                assert verify_inclusion(leaf(index), index, size, proof, wrong) is False


def test_an_inclusion_proof_holds_for_no_other_size_with_its_root():
    for size in ALTERED_SIZES:
        for index in range(size):
            proof = path_of(index, 0, size)
            for other in range(2 * size + 2):
                assert verify_inclusion(leaf(index), index, other, proof, mth(0, other)) is (
                    other == size
                )


def test_size_and_root_must_come_together_because_a_proof_can_fit_two_sizes():
    proof = path_of(0, 0, 8)
    assert verify_inclusion(leaf(0), 0, 7, proof, mth(0, 8))
    proof = subproof(3, 0, 8, known=True)
    assert verify_consistency(3, mth(0, 3), 7, mth(0, 8), proof)


def test_an_inner_node_passes_for_no_leaf():
    inner, known = mth(0, 2), mth(0, 4)
    assert verify_inclusion(inner, 0, 2, [mth(2, 4)], known)  # so the leaf must be hashed by 0x00
    assert leaf_hash(leaf(0) + leaf(1)) != inner
    assert verify_inclusion(inner, 0, 4, [mth(2, 4)], known) is False


def test_every_altered_consistency_proof_is_refused():
    for size2 in ALTERED_SIZES:
        for size1 in range(1, size2 + 1):
            proof = subproof(size1, 0, size2, known=True)
            for wrong in altered_proofs(proof):
                assert (
                    verify_consistency(size1, mth(0, size1), size2, mth(0, size2), wrong) is False
                )


def test_a_consistency_proof_holds_for_its_roots_only():
    for size2 in ALTERED_SIZES:
        for size1 in range(1, size2 + 1):
            proof = subproof(size1, 0, size2, known=True)
            root1, root2 = mth(0, size1), mth(0, size2)
            for wrong in altered_hashes(root1):
                assert verify_consistency(size1, wrong, size2, root2, proof) is False
            for wrong in altered_hashes(root2):
                assert verify_consistency(size1, root1, size2, wrong, proof) is False
            if size1 != size2:
                assert verify_consistency(size1, root2, size2, root1, proof) is False
                assert verify_consistency(size2, root2, size1, root1, proof) is False


def test_a_consistency_proof_holds_for_no_other_sizes():
    for size2 in ALTERED_SIZES:
        for size1 in range(1, size2 + 1):
            proof = subproof(size1, 0, size2, known=True)
            root1, root2 = mth(0, size1), mth(0, size2)
            for other in range(-2, size2 + 3):
                if other not in (size1, size2):
                    assert verify_consistency(other, root1, size2, root2, proof) is False
                if other >= 0 and other != size2:
                    assert verify_consistency(size1, root1, other, mth(0, other), proof) is False


def test_a_tree_that_rewrote_a_leaf_is_inconsistent():
    leaves = [leaf(at) for at in range(13)]
    for size1 in range(1, 13):
        proof = subproof(size1, 0, 13, known=True)
        for at in range(size1):
            rewritten = grown([*leaves[:at], leaf(99), *leaves[at + 1 : size1]])
            assert verify_consistency(size1, rewritten.root(), 13, mth(0, 13), proof) is False


def test_equal_sizes_are_consistent_with_equal_roots_and_no_proof():
    assert verify_consistency(5, mth(0, 5), 5, mth(0, 5), []) is True
    assert verify_consistency(5, mth(0, 5), 5, mth(0, 5), ()) is True
    assert verify_consistency(5, mth(0, 5), 5, leaf(0), []) is False
    assert verify_consistency(5, mth(0, 5), 5, mth(0, 5), [mth(0, 5)]) is False


@pytest.mark.parametrize("proof", [[], [EMPTY_ROOT], [leaf(0)]])
def test_nothing_is_in_or_follows_from_the_empty_tree(proof):
    for hash_ in (EMPTY_ROOT, leaf(0), leaf_hash(b"")):
        assert verify_inclusion(hash_, 0, 0, proof, EMPTY_ROOT) is False
        assert verify_inclusion(hash_, 0, 0, proof, hash_) is False
        assert verify_consistency(0, EMPTY_ROOT, 0, EMPTY_ROOT, proof) is False
        assert verify_consistency(0, EMPTY_ROOT, 1, hash_, proof) is False
        assert verify_consistency(0, hash_, 1, hash_, proof) is False


@pytest.mark.parametrize("end", [2**63, 2**63 + 1, 2**64, 2**5000])
def test_sizes_end_below_two_to_the_63(end):
    assert verify_inclusion(leaf(0), 0, end, [], leaf(0)) is False
    assert verify_inclusion(leaf(0), end, end + 1, [], leaf(0)) is False
    assert verify_consistency(1, leaf(0), end, leaf(0), []) is False
    assert verify_consistency(end, leaf(0), end, leaf(0), []) is False


def hostile(base):
    """A subclass whose every answer raises, as does what its class answers."""

    def refuse(*_args, **_kwargs):
        raise RuntimeError("hostile")

    names = (
        "__add__", "__and__", "__bool__", "__bytes__", "__contains__", "__eq__", "__ge__",
        "__getattribute__", "__getitem__", "__gt__", "__hash__", "__index__", "__int__", "__iter__",
        "__le__", "__len__", "__lt__", "__ne__", "__next__", "__radd__", "__repr__", "__rshift__",
        "__str__",
    )  # fmt: skip
    meta = type("HostileMeta", (type,), {"__eq__": refuse, "__hash__": type.__hash__})
    return meta("Hostile", (base,), dict.fromkeys(names, refuse))


def endless():
    while True:
        yield leaf(0)


HOSTILE = [
    hostile(object)(),
    hostile(list)([leaf(1)]),
    hostile(tuple)([leaf(1)]),
    hostile(bytes)(leaf(0)),
    hostile(int)(1),
    hostile(str)("1"),
    hostile(dict)(),
]
NESTED: list = [leaf(1)]
NESTED.append(NESTED)
ODD = [
    None, True, False, 0, 1, 2, -1, 0.0, 1.0, float("nan"), float("inf"), 2**63, 2**5000,
    -(2**5000), 1j, "", "1", leaf(0).hex(), b"", leaf(0), leaf(1), bytearray(leaf(0)),
    memoryview(leaf(0)), [], (), {}, set(), [leaf(1)], (leaf(1),), [[leaf(1)]], [None], [1], NESTED,
    range(10**12), endless(), map(leaf, range(3)), {leaf(1): 1}, object(), object, len, ...,
    [leaf(1)] * 65,
]  # fmt: skip
ODDER = [*ODD, *HOSTILE, *([odd] for odd in HOSTILE)]
INCLUSION = (leaf(0), 0, 2, [leaf(1)], mth(0, 2))
CONSISTENCY = (1, mth(0, 1), 2, mth(0, 2), [leaf(1)])


@pytest.mark.parametrize(
    ("verify", "good"), [(verify_inclusion, INCLUSION), (verify_consistency, CONSISTENCY)]
)
def test_any_one_or_two_odd_arguments_are_answered_and_never_raise(verify, good):
    assert verify(*good) is True
    for at, other in combinations(range(5), 2):
        for odd, second in product(ODDER, ODDER):
            arguments = list(good)
            arguments[at], arguments[other] = odd, second
            assert type(verify(*arguments)) is bool


def test_a_subclass_is_refused_unasked():
    both = ((verify_inclusion, INCLUSION), (verify_consistency, CONSISTENCY))
    for odd, (verify, good), at in product(HOSTILE, both, range(5)):
        assert verify(*good[:at], odd, *good[at + 1 :]) is False


@pytest.mark.parametrize("kind", [iter, set, bytearray, memoryview, dict.fromkeys])
def test_a_proof_is_a_list_or_a_tuple(kind):
    proof = kind(leaf(1)) if kind in (bytearray, memoryview) else kind([leaf(1)])
    assert verify_inclusion(leaf(0), 0, 2, proof, mth(0, 2)) is False
    assert verify_consistency(1, leaf(0), 2, mth(0, 2), proof) is False


def test_bytes_moved_from_one_hash_to_the_next_are_refused():
    both, known = leaf(0) + leaf(1), mth(0, 2)
    for cut in (0, 31, 33, 64):
        left, right = both[:cut], both[cut:]
        assert node_hash(left, right) == known
        assert verify_inclusion(left, 0, 2, [right], known) is False
        assert verify_inclusion(right, 1, 2, [left], known) is False
        assert verify_consistency(1, left, 2, known, [right]) is False


@pytest.mark.parametrize("short", [b"", leaf(0)[:31], leaf(0) + b"\0"])
def test_what_is_no_hash_is_no_tree_of_one_leaf(short):
    assert verify_inclusion(short, 0, 1, [], short) is False
    assert verify_consistency(1, short, 1, short, []) is False


def test_a_boolean_is_no_number():
    assert verify_inclusion(leaf(0), False, 2, [leaf(1)], mth(0, 2)) is False
    assert verify_inclusion(leaf(0), 0, True, [], leaf(0)) is False
    assert verify_consistency(True, leaf(0), 2, mth(0, 2), [leaf(1)]) is False
    assert verify_consistency(1, leaf(0), True, leaf(0), []) is False


def test_a_very_long_proof_takes_no_time():
    proof = [leaf(1)] * 5_000_000
    started = time.perf_counter()
    for size in (2, 2**63 - 1):
        assert verify_inclusion(leaf(0), 0, size, proof, mth(0, 2)) is False
        assert verify_consistency(1, leaf(0), size, mth(0, 2), proof) is False
    assert time.perf_counter() - started < 0.1


ANYTHING = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-2, 20)
    | st.integers()
    | st.floats()
    | st.text(max_size=4)
    | st.binary(max_size=40)
    | st.binary(min_size=32, max_size=32)
    | st.sampled_from(ODD),
    lambda inner: st.lists(inner, max_size=4) | st.tuples(inner) | st.tuples(inner, inner),
    max_leaves=6,
)


@settings(max_examples=500, deadline=None)
@given(st.tuples(ANYTHING, ANYTHING, ANYTHING, ANYTHING, ANYTHING))
def test_arbitrary_objects_are_answered_and_never_raise(arguments):
    for verify in (verify_inclusion, verify_consistency):
        assert type(verify(*arguments)) is bool


@settings(max_examples=300, deadline=None)
@given(
    st.integers(0, 40),
    st.integers(0, 40),
    st.lists(st.binary(min_size=32, max_size=32), max_size=8),
)
def test_a_made_up_proof_is_refused(number, size, proof):
    known = mth(0, size)
    assert verify_inclusion(b"\x05" * HASH_SIZE, number, size, proof, known) is False
    if number != size:
        assert verify_consistency(number, b"\x05" * HASH_SIZE, size, known, proof) is False


def test_a_frontier_grows_by_whole_trees_as_by_their_leaves():
    leaves = [bytes([n]) * 32 for n in range(64)]
    for start in range(0, 64, 8):
        for level in (0, 1, 2, 3):
            grown = Frontier()
            grown.extend(leaves[:start])
            grown.append_tree(perfect_root(leaves[start : start + (1 << level)]), level)
            expected = Frontier()
            expected.extend(leaves[: start + (1 << level)])
            assert (grown.size, grown.peaks) == (expected.size, expected.peaks)
    with pytest.raises(ValueError, match="no tree over"):
        Frontier(1, [leaves[0]]).append_tree(leaves[1], 1)
