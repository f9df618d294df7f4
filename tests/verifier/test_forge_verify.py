"""The stand-alone verifier accepts what is true and refuses everything else.

The files are built here from the formats' description alone, with nothing of the project.
"""

from __future__ import annotations

import ast
import copy
import gzip
import importlib.util
import io
import json
import random
import shutil
import subprocess
import sys
import uuid
from base64 import b64encode
from collections.abc import Iterator
from contextlib import redirect_stdout
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

SCRIPT = Path(__file__).parents[2] / "forge_verify.py"
ORIGIN = "forge.example/log"
PROPOSAL = "p-" + "ab" * 16
BEFORE, AFTER = "2026-11-02T00:00:05Z", "2026-11-02T00:00:15Z"
WRONG_TYPES = (None, True, 7, 1.5, "", [], {}, [[]])


def load():
    spec = importlib.util.spec_from_file_location("forge_verify", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


forge_verify = load()


class Signer:
    def __init__(self, name: str) -> None:
        self.name = name
        self.private = Ed25519PrivateKey.generate()
        self.material = b"\x01" + self.private.public_key().public_bytes_raw()
        self.id = sha256(name.encode() + b"\n" + self.material).digest()[:4]
        self.vkey = f"{name}+{self.id.hex()}+{b64encode(self.material).decode()}"

    def sign(self, text: str) -> str:
        raw = self.id + self.private.sign(text.encode())
        return f"{text}\n— {self.name} {b64encode(raw).decode()}\n"


LOG, PROMISES, STRANGER = Signer(ORIGIN), Signer(f"{ORIGIN}/promises"), Signer("stranger.example")
KEYS = (LOG.vkey, PROMISES.vkey)


def leaf(body: str) -> bytes:
    return sha256(b"\x00" + body.encode()).digest()


def mth(leaves: list[bytes]) -> bytes:
    """RFC 9162, section 2.1.1, word for word."""
    if len(leaves) < 2:
        return leaves[0] if leaves else sha256().digest()
    k = 1 << (len(leaves) - 1).bit_length() - 1
    return sha256(b"\x01" + mth(leaves[:k]) + mth(leaves[k:])).digest()


def path(m: int, leaves: list[bytes]) -> list[bytes]:
    """RFC 9162, section 2.1.3.1, word for word."""
    if len(leaves) == 1:
        return []
    k = 1 << (len(leaves) - 1).bit_length() - 1
    if m < k:
        return [*path(m, leaves[:k]), mth(leaves[k:])]
    return [*path(m - k, leaves[k:]), mth(leaves[:k])]


def at(second: int) -> str:
    return f"2026-11-02T00:00:{second:02d}.000000Z"


def entry(kind: str, second: int, data: dict[str, Any], **more: Any) -> str:
    document = {"v": 1, "kind": kind, "at": at(second), "actor": "alice", "subject": PROPOSAL}
    document |= {"data": data} | more
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def ballot(number: int, member: str, choice: str, weight: str, second: int = 3, **more: Any) -> str:
    data = {
        "ballot": str(number),
        "choice": choice,
        "weight": weight,
        "accepted_at": at(second),
        "issuer": "portal",
        "command": str(uuid.UUID(int=number)),
    } | more
    return entry("ballot.cast", second, data, actor=member)


def commitment(body: str) -> str:
    return sha256(b"s" * 16 + body.encode()).hexdigest()


def decided(totals: tuple[str, str, str], **more: Any) -> str:
    decision = {
        "totals": dict(zip(("for", "against", "abstain"), totals, strict=True)),
        "checks": [{"name": "quorum", "held": True}, {"name": "approval", "held": True}],
    }
    return entry("proposal.decided", 20, {"outcome": "approved", "decision": decision | more})


CREATED = entry(
    "proposal.created",
    0,
    {key: commitment(key) for key in ("title", "description", "reason")},
    command="portal/" + str(uuid.UUID(int=0)),
)
ACTIVATED = entry("proposal.activated", 1, {"closes_at": at(10)})
ERASED = entry(
    "text.erased",
    12,
    {"commitment": commitment("reason"), "reason": "5" * 64},
    actor="über\u202e",
)
BALLOTS = [
    ballot(1, "alice", "against", "2"),
    ballot(2, "bob", "for", "1.25"),
    ballot(4, "carol", "abstain", "0.5"),
    ballot(3, "alice", "for", "2", 4),
    ballot(5, "dave", "against", "1", 10),
]
ENTRIES = [CREATED, ACTIVATED, *BALLOTS, ERASED, decided(("3.25", "1", "0.5"))]


def filled(entries: list[str]) -> list[str]:
    """The entries among others, so that positions are not simply 0, 1, 2."""
    return [
        body for n, own in enumerate(entries) for body in (entry("other", 0, {"n": str(n)}), own)
    ]


def checkpoint(leaves: list[bytes], signer: Signer = LOG, origin: str = ORIGIN) -> str:
    return signer.sign(f"{origin}\n{len(leaves)}\n{b64encode(mth(leaves)).decode()}\n")


def promise(body: str, command: str, *, sealed: int = 10) -> str:
    return PROMISES.sign(
        f"forge-promise/v1\n{ORIGIN}\nleaf {leaf(body).hex()}\ncommand {command}\n"
        f"accepted {at(3)}\nsealed-by {at(sealed)}\n"
    )


def receipt(body: str = BALLOTS[1], *, proof: bool = True, promised: bool = True) -> dict[str, Any]:
    everything = filled(ENTRIES) if body in ENTRIES else [*filled(ENTRIES), body]
    leaves = [leaf(each) for each in everything]
    document = json.loads(body)
    data = document["data"]
    command = document.get("command") or f"{data['issuer']}/{data['command']}"
    position = everything.index(body)
    return {
        "format": "forge-receipt/1",
        "entry": body,
        "promise": promise(body, command) if promised else None,
        "proof": {
            "position": position,
            "size": len(leaves),
            "path": [each.hex() for each in path(position, leaves)],
            "checkpoint": checkpoint(leaves),
        }
        if proof
        else None,
    }


def bundle(entries: list[str] | None = None) -> dict[str, Any]:
    entries = ENTRIES if entries is None else entries
    everything = filled(entries)
    leaves = [leaf(each) for each in everything]
    texts = [
        {"commitment": commitment(body), "salt": (b"s" * 16).hex(), "body": body}
        for body in sorted(("title", "description"), key=commitment)
    ]
    return {
        "format": "forge-bundle/1",
        "proposal": PROPOSAL,
        "checkpoint": checkpoint(leaves),
        "entries": [
            {"position": n, "body": body, "path": [each.hex() for each in path(n, leaves)]}
            for n, body in enumerate(everything)
            if n % 2
        ],
        "texts": texts,
        "erased": [commitment("reason")] if ERASED in entries else [],
    }


def ledger(bodies: list[str], *, size: int | None = None) -> bytes:
    note = checkpoint([leaf(body) for body in bodies])
    header = {"format": "forge-ledger/1", "checkpoint": note, "size": size or len(bodies)}
    return "".join(f"{line}\n" for line in (json.dumps(header), *bodies)).encode()


class Desk:
    """Runs the verifier in this process, on a file of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def file(self, content: object, name: str = "file") -> str:
        target = self.folder / name
        raw = content if isinstance(content, bytes) else json.dumps(content).encode()
        target.write_bytes(raw)
        return str(target)

    def run(self, what: str, content: object, *more: str, keys=KEYS) -> tuple[int, str]:
        named = [f"--key={key}" for key in keys]
        out = io.StringIO()
        with redirect_stdout(out):
            status = forge_verify.main([what, self.file(content), *named, *more])
        return status, out.getvalue()

    def proves(self, what: str, content: object, *more: str, keys=KEYS) -> str:
        status, out = self.run(what, content, *more, keys=keys)
        assert (status, out[:7]) == (0, "PROOF: "), out
        return out

    def refuses(self, what: str, content: object, *more: str, keys=KEYS) -> str:
        status, out = self.run(what, content, *more, keys=keys)
        assert status == 1, out
        assert out.startswith("does not prove"), out
        assert "the check fails with" not in out
        return out


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def mutated_strings(value: str) -> Iterator[str]:
    rng = random.Random(len(value))
    for place in {0, len(value) - 1, *(rng.randrange(len(value)) for _ in range(12))}:
        old = value[place]
        new = {"0": "1", "a": "b"}.get(old, "a" if old.isascii() else "-")
        yield value[:place] + new + value[place + 1 :]
        yield value[:place] + value[place + 1 :]
        if old.swapcase() != old:
            yield value[:place] + old.swapcase() + value[place + 1 :]
    for addition in ("x", "\n", " ", "\x00", "=", "\ud800"):
        yield value + addition
        yield addition + value
    yield value[: len(value) // 2]


def mutations(node: Any) -> Iterator[Any]:
    """Every document that differs from this one in one place."""
    for wrong in WRONG_TYPES:
        if type(wrong) is not type(node) or (wrong != node and not isinstance(node, list)):
            yield wrong
    if isinstance(node, str) and node:
        yield from mutated_strings(node)
    elif isinstance(node, int):
        yield from (node + 1, node - 1, -node - 1, str(node), float(node), node + 2**64)
    elif isinstance(node, dict):
        yield node | {"more": 1}
        for key, value in node.items():
            yield {k: v for k, v in node.items() if k != key}
            yield from (node | {key: changed} for changed in mutations(value))
    elif isinstance(node, list):
        for n, value in enumerate(node):
            yield [*node[:n], value, *node[n:]]
            yield from ([*node[:n], changed, *node[n + 1 :]] for changed in mutations(value))
            if n and value != node[n - 1]:
                yield [*node[: n - 1], value, node[n - 1], *node[n + 1 :]]


def test_receipt_with_proof_says_who_voted_what(desk):
    out = desk.proves("receipt", receipt())
    assert '"bob": voted FOR with weight 1.25 on proposal' in out
    assert f'the log "{ORIGIN}" of size 18 holds at position 7' in out


def test_receipt_of_another_kind_of_entry(desk):
    assert '"proposal.created"' in desk.proves("receipt", receipt(CREATED))


def test_receipt_is_proved_by_the_proof_alone(desk):
    desk.proves("receipt", receipt(promised=False), keys=KEYS[:1])


@pytest.mark.parametrize("size", range(1, 18))
def test_every_position_of_every_small_tree(size):
    bodies = filled(ENTRIES)[:size]
    leaves = [leaf(body) for body in bodies]
    log = forge_verify.Checkpoint(ORIGIN, size, mth(leaves))
    for position in range(size):
        hashes = [each.hex() for each in path(position, leaves)]
        for claimed in range(-1, size + 2):
            if claimed == position:
                forge_verify.check_included(leaves[position], claimed, hashes, log)
            else:
                with pytest.raises(forge_verify.NotProved):
                    forge_verify.check_included(leaves[position], claimed, hashes, log)
    assert forge_verify.roots(map(str.encode, bodies), size, {size})[1][size] == log.root


@pytest.mark.parametrize(
    ("now", "first"), [(BEFORE, "only a promise"), (AFTER, "an unfulfilled promise")]
)
def test_promise_alone_is_no_proof(desk, now, first):
    out = desk.refuses("receipt", receipt(proof=False), "--now", now)
    assert out.splitlines()[0] == f"does not prove inclusion: {first}"
    assert ("evidence against the operator" in out) is (now == AFTER)


def test_promise_is_held_against_the_system_clock_without_now(desk):
    later = receipt(proof=False) | {
        "promise": promise(BALLOTS[1], f"portal/{uuid.UUID(int=2)}").replace("2026", "2020")
    }
    assert "is false" in desk.refuses("receipt", later)
    assert "promise" in desk.refuses("receipt", receipt(proof=False)).splitlines()[0]


def test_promise_of_another_command_or_entry(desk):
    given = receipt()
    other = promise(BALLOTS[1], f"portal/{uuid.UUID(int=9)}")
    assert "another command" in desk.refuses("receipt", given | {"promise": other})
    other = promise(BALLOTS[0], f"portal/{uuid.UUID(int=2)}")
    assert "another entry" in desk.refuses("receipt", given | {"promise": other})


def test_key_of_the_log_cannot_promise_nor_that_of_promises_log(desk):
    text = receipt()["promise"].partition("\n\n")[0] + "\n"
    desk.refuses("receipt", receipt() | {"promise": LOG.sign(text)})
    forged = receipt()
    forged["proof"]["checkpoint"] = checkpoint([b"\x00" * 32] * 18, PROMISES)
    assert "not signed by a given key named" in desk.refuses("receipt", forged)


def test_signature_of_a_stranger_is_ignored_and_of_a_known_key_must_hold(desk):
    given = receipt()
    note = given["proof"]["checkpoint"]
    text = note.partition("\n\n")[0] + "\n"
    given["proof"]["checkpoint"] = note + STRANGER.sign(text).rpartition("\n\n")[2]
    desk.proves("receipt", given)
    given["proof"]["checkpoint"] = note + STRANGER.sign("else\n").rpartition("\n\n")[2]
    desk.proves("receipt", given)
    assert "is false" in desk.refuses("receipt", given, keys=(*KEYS, STRANGER.vkey))


def test_receipt_of_two_logs_or_of_another_than_the_checkpoint_from_elsewhere(desk):
    other, promises = Signer("other.example"), Signer("other.example/promises")
    keys = (*KEYS, other.vkey, promises.vkey)
    given, leaves = receipt(), [leaf(body) for body in filled(ENTRIES)]
    foreign = desk.file(checkpoint(leaves, other, other.name).encode(), "foreign")
    out = desk.refuses("receipt", given, "--checkpoint", foreign, keys=keys)
    assert 'is of the log "other.example"' in out
    text = given["promise"].partition("\n\n")[0].replace(ORIGIN, other.name) + "\n"
    out = desk.refuses("receipt", given | {"promise": promises.sign(text)}, keys=keys)
    assert "of different logs" in out


def test_promise_that_ends_before_it_was_made(desk):
    early = promise(BALLOTS[1], f"portal/{uuid.UUID(int=2)}", sealed=2)
    assert "before it was made" in desk.refuses("receipt", receipt() | {"promise": early})


@pytest.mark.parametrize(("size", "root"), [(2**63, bytes(32)), (1, bytes(31)), (1, bytes(33))])
def test_impossible_checkpoint(size, root):
    note = LOG.sign(f"{ORIGIN}\n{size}\n{b64encode(root).decode()}\n")
    with pytest.raises(forge_verify.NotProved, match="impossible"):
        forge_verify.open_checkpoint(note, [forge_verify.parse_key(LOG.vkey)])


def test_key_of_a_witness_is_none_for_notes():
    material = b"\x04" + LOG.material[1:]
    id_ = sha256(ORIGIN.encode() + b"\n" + material).hexdigest()[:8]
    with pytest.raises(forge_verify.NotProved, match="not an Ed25519 key for notes"):
        forge_verify.parse_key(f"{ORIGIN}+{id_}+{b64encode(material).decode()}")


def test_key_twice_in_a_file_that_is_otherwise_true(desk):
    raw = json.dumps(receipt()).replace("{", '{"format": "forge-receipt/1", ', 1)
    assert "a key twice" in desk.refuses("receipt", raw.encode())


@pytest.mark.parametrize("what", ["receipt", "bundle", "ledger"])
def test_more_than_is_read_into_memory(desk, what, monkeypatch):
    monkeypatch.setattr(forge_verify, "MOST_BYTES", 1000)
    monkeypatch.setattr(forge_verify, "MOST_LINE", 1000)
    monkeypatch.setattr(forge_verify, "BLOCK", 100)
    out = desk.refuses(what, b" " * 1001)
    assert "1,000 bytes" in out


@pytest.mark.parametrize("what", ["receipt", "bundle"])
def test_checkpoint_from_elsewhere(desk, what):
    given = receipt() if what == "receipt" else bundle()
    leaves = [leaf(body) for body in filled(ENTRIES)]
    same = desk.file(checkpoint(leaves).encode(), "same")
    assert "except whoever gave you" in desk.proves(what, given, "--checkpoint", same)
    smaller = desk.file(checkpoint(leaves[:-1]).encode(), "smaller")
    assert "consistency proof" in desk.refuses(what, given, "--checkpoint", smaller)
    split = desk.file(checkpoint([*leaves[1:], leaves[0]]).encode(), "split")
    assert "evidence against" in desk.refuses(what, given, "--checkpoint", split)
    strange = desk.file(checkpoint(leaves, STRANGER).encode(), "strange")
    desk.refuses(what, given, "--checkpoint", strange)
    desk.refuses(what, given, "--checkpoint", desk.file(b"\xff\x00", "noise"))
    desk.refuses(what, given, "--checkpoint", str(desk.folder / "absent"))


def test_every_mutation_of_a_receipt_is_refused(desk):
    given, count = receipt(), 0
    for changed in mutations(given):
        if isinstance(changed, dict) and changed == given | {"promise": None}:
            continue  # says less, and truly
        desk.refuses("receipt", changed, "--now", BEFORE)
        count += 1
    for changed in mutations(receipt(proof=False)):
        desk.refuses("receipt", changed, "--now", BEFORE)
    assert count > 500


def test_bundle_is_recounted(desk):
    out = desk.proves("bundle", bundle())
    assert f'proposal "{PROPOSAL}" in the log "{ORIGIN}" of size 18: APPROVED' in out
    assert "for 3.25, against 1, abstain 0.5: recounted from 5 ballots" in out
    assert "texts checked: 2, erased: 1" in out
    assert "1 2026-11-02T00:00:00.000000Z" in out
    assert '"über\N{REPLACEMENT CHARACTER}"' in out


def test_every_mutation_of_a_bundle_is_refused(desk):
    count = 0
    for changed in mutations(bundle()):
        if isinstance(changed, dict) and changed.get("texts") == []:
            continue  # says less, and says so
        desk.refuses("bundle", changed)
        count += 1
    assert count > 3000


def test_bundle_without_texts_says_which_are_not_shown(desk):
    out = desk.proves("bundle", bundle() | {"texts": []})
    assert "own texts not shown: title, description" in out


def test_proposal_whose_title_is_no_text_is_shown_as_such(desk):
    created = CREATED.replace(f'"{commitment("title")}"', '["x"]')
    given = bundle([created, *ENTRIES[1:]])
    given["texts"] = [text for text in given["texts"] if text["body"] != "title"]
    assert "not shown: title." in desk.proves("bundle", given)


def test_bundle_before_the_decision(desk):
    assert "NOT DECIDED" in desk.proves("bundle", bundle(ENTRIES[:-1]))


def with_decision(*totals: str, extra: tuple[str, ...] = (), **more: Any) -> list[str]:
    return [*ENTRIES[:-1], *extra, decided(totals, **more)]


DELEGATED = (entry("delegation.set", 2, {}, subject="erin"),)

UNTRUE = {
    "a total too large": with_decision("3.26", "1", "0.5"),
    "a total too small": with_decision("3.25", "0.99", "0.5"),
    "delegated weight below the direct": with_decision("3.25", "1", "0.4", extra=DELEGATED),
    "no totals": with_decision("", "", ""),
    "totals in floating point": with_decision("3.25", "1e0", "0.5"),
    "an outcome that its checks deny": with_decision("3.25", "1", "0.5", checks=[{"held": False}]),
    "an outcome without checks": with_decision("3.25", "1", "0.5", checks=[]),
    "a ballot too late": [*ENTRIES[:2], ballot(9, "eve", "for", "0", 11), *ENTRIES[2:]],
    "a ballot accepted too late": [
        *ENTRIES[:2],
        ballot(9, "eve", "for", "0", accepted_at=at(11)),
        *ENTRIES[2:],
    ],
    "a ballot after the decision": [*ENTRIES, ballot(9, "eve", "for", "0")],
    "a ballot number twice": [
        *ENTRIES[:2],
        ballot(5, "eve", "for", "0", command="x"),
        *ENTRIES[2:],
    ],
    "a command twice": [
        *ENTRIES[:2],
        ballot(9, "eve", "for", "0", command=str(uuid.UUID(int=1))),
        *ENTRIES[2:],
    ],
    "a negative weight": [*ENTRIES[:2], ballot(9, "eve", "for", "-1"), *ENTRIES[2:]],
    "a choice that is none": [*ENTRIES[:2], ballot(9, "eve", "FOR", "0"), *ENTRIES[2:]],
    "a ballot of another proposal": [
        *ENTRIES[:2],
        ballot(9, "eve", "for", "0").replace(PROPOSAL, "p-other"),
        *ENTRIES[2:],
    ],
    "nothing created": ENTRIES[1:],
    "created twice": [CREATED.replace("alice", "bob"), *ENTRIES],
    "never opened": [CREATED, *BALLOTS, ERASED],
    "decided twice": [*ENTRIES, ENTRIES[-1]],
    "an entry that is not canonical": [CREATED.replace(":", ": ", 1), *ENTRIES[1:]],
    "an entry with a key too much": [*ENTRIES, entry("x", 1, {}, z="1")],
    "an entry of another version": [*ENTRIES, entry("text.erased", 1, {}, v=2)],
    "an entry with keys out of order": [*ENTRIES, '{"v":1,"actor":"a"}'],
    "decided but never opened": [CREATED, ERASED, decided(("0", "0", "0"))],
    "an entry that is canonical but for the order of keys": [
        *ENTRIES,
        json.dumps(dict(reversed(json.loads(CREATED.replace("created", "x")).items())))
        .replace(", ", ",")
        .replace(": ", ":"),
    ],
    "an entry with a number too large": [*ENTRIES, entry("x", 1, {"n": 2**53})],
    "an entry with floats": [*ENTRIES, entry("x", 1, {"n": 1.5})],
    "an entry with a key twice": [*ENTRIES, entry("x", 1, {"n": 1}).replace("{", '{"n":1,', 2)],
}


@pytest.mark.parametrize("case", UNTRUE)
def test_bundle_that_is_in_the_log_but_untrue(desk, case):
    desk.refuses("bundle", bundle(UNTRUE[case]))


def test_delegated_and_set_aside_weight_is_named_and_not_recounted(desk):
    out = desk.proves("bundle", bundle(with_decision("9", "1", "0.5", extra=DELEGATED)))
    assert "delegations are not recounted here" in out
    out = desk.proves("bundle", bundle(with_decision("1.25", "1", "0.5", set_aside={})))
    assert "ballots set aside are not recounted here" in out


def test_cut_between_salt_and_text_cannot_move(desk):
    moved = bundle()
    text = moved["texts"][0]
    text["salt"] += text["body"][0].encode().hex()
    text["body"] = text["body"][1:]
    desk.refuses("bundle", moved)


def test_text_that_was_erased_cannot_be_there(desk):
    given = bundle()
    text = {"commitment": commitment("reason"), "salt": (b"s" * 16).hex(), "body": "reason"}
    given["texts"] = sorted([*given["texts"], text], key=lambda each: each["commitment"])
    assert "erased is there" in desk.refuses("bundle", given)


def test_text_without_an_entry_and_erasure_without_a_trace(desk):
    alien = {"commitment": commitment("else"), "salt": (b"s" * 16).hex(), "body": "else"}
    more = bundle()
    more["texts"] = sorted([*more["texts"], alien], key=lambda text: text["commitment"])
    assert "no entry commits" in desk.refuses("bundle", more)
    desk.refuses("bundle", bundle(ENTRIES[:-2]) | {"erased": [commitment("reason")]})
    desk.refuses("bundle", bundle() | {"erased": []})


BODIES = filled(ENTRIES)


def test_ledger_plain_and_gzip(desk):
    assert "from its first entry to size 18" in desk.proves("ledger", ledger(BODIES))
    desk.proves("ledger", gzip.compress(ledger(BODIES)))
    desk.proves("ledger", ledger([]))


@pytest.mark.parametrize("size", range(19))
def test_ledger_begins_with_every_earlier_checkpoint(desk, size):
    leaves = [leaf(body) for body in BODIES]
    earlier = desk.file(checkpoint(leaves[:size]).encode(), "earlier")
    desk.proves("ledger", ledger(BODIES), "--checkpoint", earlier)
    if size:
        other = checkpoint([*leaves[1:size], b"\x00" * 32])
        other = desk.file(other.encode(), "other")
        assert "differ" in desk.refuses("ledger", ledger(BODIES), "--checkpoint", other)


def test_ledger_that_is_right_only_as_far_as_the_earlier_checkpoint(desk):
    leaves = [leaf(body) for body in BODIES]
    earlier = desk.file(checkpoint(leaves[:9]).encode(), "earlier")
    changed = ledger(BODIES)[: -len(BODIES[-1]) - 1] + BODIES[0].encode() + b"\n"
    desk.refuses("ledger", changed, "--checkpoint", earlier)


def test_ledger_that_lost_its_tail_and_was_signed_again(desk):
    later = desk.file(checkpoint([leaf(body) for body in BODIES]).encode(), "later")
    shorter = ledger(BODIES[:-1])
    desk.proves("ledger", shorter)
    assert "lost its tail" in desk.refuses("ledger", shorter, "--checkpoint", later)


def test_every_change_of_a_ledger_is_refused(desk):
    good = ledger(BODIES)
    header, *lines = good.splitlines(keepends=True)
    changes = [
        *(good[:n] for n in range(0, len(good), 7)),
        *(good[:n] + bytes([good[n] ^ 1]) + good[n + 1 :] for n in range(0, len(good), 5)),
        *(header + b"".join([*lines[:n], *lines[n + 1 :]]) for n in range(len(lines))),
        *(header + b"".join([*lines[:n], lines[n], *lines[n:]]) for n in range(len(lines))),
        *(header + b"".join([lines[n], *lines[1:n], lines[0], *lines[n + 1 :]]) for n in (1, 9)),
        good + b"\n",
        good + b"{}",
        good.replace(b"\n", b"\r\n"),
        good[:-1],
        ledger(BODIES, size=17),
        ledger(BODIES, size=19),
    ]
    for changed in changes:
        desk.refuses("ledger", changed)
    packed = gzip.compress(good, mtime=0)
    for n in range(0, len(packed), 3):
        desk.refuses("ledger", packed[:n])
    for changed in mutations(json.loads(header)):
        desk.refuses("ledger", json.dumps(changed).encode() + b"\n" + b"".join(lines))


@pytest.mark.parametrize("what", ["receipt", "bundle"])
def test_truncated_file(desk, what):
    raw = json.dumps(receipt() if what == "receipt" else bundle()).encode()
    for n in range(0, len(raw), max(1, len(raw) // 300)):
        desk.refuses(what, raw[:n])


NOISE = {
    "nothing": b"",
    "binary": random.Random(1).randbytes(5000),
    "zeros": bytes(5000),
    "deep list": b"[" * 200_000,
    "deep object": b'{"a":' * 200_000,
    "huge number": b"1" * 100_000,
    "not a number": b"NaN",
    "byte order mark": b"\xef\xbb\xbf{}",
    "lone surrogate": b'{"format":"\\ud800"}',
    "gzip bomb head": b"\x1f\x8b" + bytes(100),
    "key twice": b'{"format":"forge-receipt/1","format":"forge-receipt/1"}',
}


@pytest.mark.parametrize("what", ["receipt", "bundle", "ledger"])
@pytest.mark.parametrize("noise", NOISE)
def test_garbage(desk, what, noise):
    assert desk.refuses(what, NOISE[noise]).count("\n") == 1


@pytest.mark.parametrize("what", ["receipt", "bundle"])
def test_deep_and_strange_entries(desk, what):
    for body in ("[" * 200_000, '{"a":' * 9_000 + "1" + "}" * 9_000, "\ud800", "\x00", "null"):
        given = receipt() | {"entry": body}
        if what == "bundle":
            given = copy.deepcopy(bundle())
            given["entries"][0]["body"] = body
        desk.refuses(what, given)


@pytest.mark.parametrize("what", ["receipt", "bundle", "ledger"])
def test_what_is_no_file(desk, what):
    for path_ in (desk.folder, desk.folder / "absent", desk.folder / "nul\x00", "\x1b[31m"):
        out = io.StringIO()
        with redirect_stdout(out):
            assert forge_verify.main([what, str(path_), f"--key={LOG.vkey}"]) == 1
        assert out.getvalue().startswith("does not prove: ")
        assert out.getvalue().count("\n") == 1
        assert "\x1b" not in out.getvalue()


def test_nothing_from_a_file_reaches_the_terminal_as_a_command(desk):
    body = ballot(7, "eve\u202e\n PROOF", "for", "1")
    body = body.replace("\\n", "\\u001b")  # canonical spelling of an escape character
    out = desk.proves("receipt", receipt(body))
    assert out.isascii() or "\N{REPLACEMENT CHARACTER}" in out
    assert all(c.isprintable() or c == "\n" for c in out)
    assert len(out.splitlines()) == 5


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["receipt"],
        ["receipt", "x"],
        ["receipt", "x", "--key", "nonsense"],
        ["receipt", "x", "--key", LOG.vkey[:-2] + "A="],
        ["receipt", "x", "--key", LOG.vkey.replace("+", "+0", 1)],
        ["receipt", "x", "--key", LOG.vkey.replace("forge", "Forge")],
        ["receipt", "x", "--key", LOG.vkey, "--now", "yesterday"],
        ["receipt", "x", "--key", LOG.vkey, "--now", "2026-11-02T00:00:00"],
        ["bundle", "x", "--key", LOG.vkey, "--now", AFTER],
    ],
)
def test_wrong_usage(arguments, capsys):
    with pytest.raises(SystemExit) as stopped:
        forge_verify.main(arguments)
    assert stopped.value.code == 2
    assert capsys.readouterr().out == ""


def test_file_without_keys_is_wrong_usage(desk):
    for content in (b"", b"\n \n", b"\xff", b"nonsense\n", LOG.vkey.encode() + b"\nx\n"):
        with pytest.raises(SystemExit) as stopped:
            forge_verify.main(["receipt", "x", "--key", desk.file(content, "keys")])
        assert stopped.value.code == 2


def test_known_key_and_signature():
    """The example of c2sp.org/signed-note and of Go's note package."""
    encoded = "Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1E"
    encoded += "RYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM="
    key = forge_verify.parse_key(
        "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"
    )
    note = f"This is an example message.\n\n— example.com/foo {encoded}\n"
    assert forge_verify.open_note(note, [key], "it")[1] == {"example.com/foo"}


def test_imports_nothing_of_the_project():
    tree = ast.parse(SCRIPT.read_text(encoding="utf-8"))
    names = {
        name.split(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, (ast.Import, ast.ImportFrom))
        for name in (
            [node.module] if isinstance(node, ast.ImportFrom) else [a.name for a in node.names]
        )
    }
    assert names <= sys.stdlib_module_names | {"cryptography"}


def alone(folder: Path, *arguments: str, **more: Any) -> subprocess.CompletedProcess[str]:
    """A copy in an empty folder, isolated from everything but the installed packages."""
    shutil.copy(SCRIPT, folder / "copy.py")
    command = [sys.executable, "-I", "copy.py", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, **more)


@pytest.mark.parametrize(
    ("what", "content", "status"),
    [
        ("receipt", receipt(), 0),
        ("receipt", receipt(proof=False), 1),
        ("bundle", bundle(), 0),
        ("ledger", gzip.compress(ledger(BODIES)), 0),
        ("ledger", ledger(BODIES)[:-9], 1),
        ("bundle", b'[{"a":' * 99_999, 1),
    ],
)
def test_as_a_program_alone(desk, what, content, status):
    (desk.folder / "keys").write_text("\n".join(KEYS) + "\n")
    (desk.folder / "empty").mkdir()
    file = desk.file(content)
    done = alone(desk.folder / "empty", what, file, "--key", str(desk.folder / "keys"))
    assert done.returncode == status
    assert done.stdout.startswith("does not prove" if status else "PROOF: ")
    assert done.stderr == ""


def test_as_a_program_with_a_poor_terminal(desk):
    file = desk.file(bundle())
    named = [f"--key={key}" for key in KEYS]
    command = [sys.executable, str(SCRIPT), "bundle", file, *named]
    done = subprocess.run(
        command, capture_output=True, check=False, env={"PYTHONIOENCODING": "ascii"}
    )
    assert (done.returncode, done.stderr) == (0, b"")
