"""Check a receipt, a bundle or a whole ledger of Forge Governance, without trusting its operator.

    forge_verify.py receipt FILE --key VKEY [--checkpoint FILE] [--now RFC3339]
    forge_verify.py bundle FILE --key VKEY [--checkpoint FILE]
    forge_verify.py ledger FILE --key VKEY [--checkpoint FILE]

One file that needs Python 3.11 and ``cryptography``, and nothing of the project. Trust starts at
the keys, so get them from somewhere else than the file. What is not checked is not believed:
unknown fields, keys and spellings are refused. Exit status 0: proved; 1: not proved, or only
promised; 2: wrong usage, unusable keys included.

Sources: RFC 9162 section 2.1 (tree), RFC 8785 (JSON), C2SP signed-note and tlog-checkpoint.
"""

from __future__ import annotations

import argparse
import gzip
import io
import json
import re
import sys
import zlib
from base64 import b64decode, b64encode
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from fractions import Fraction
from hashlib import sha256
from itertools import chain, pairwise
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

try:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
except ImportError:
    sys.stderr.write("forge_verify.py needs the package cryptography: pip install cryptography\n")
    raise SystemExit(2) from None

MOST_BYTES = 256 << 20  # of a receipt or a bundle; a ledger may have any size
MOST_LINE = 16 << 20  # of a ledger
BLOCK = 1 << 20

HASH = re.compile(r"[0-9a-f]{64}")
SALT = re.compile(r"[0-9a-f]{32}")  # of one length, else the cut between salt and text could move
WHOLE = re.compile(r"0|[1-9][0-9]{0,18}")
DECIMAL = re.compile(r"(?:0|[1-9][0-9]{0,99})(?:\.[0-9]{1,100})?")
VKEY = re.compile(r"([^\s+]+)\+([0-9a-f]{8})\+(\S+)")
SIGNATURE = re.compile(r"— ([^\s+]+) (\S+)")
CHECKPOINT = re.compile(r"([^\s+]+)\n(.+)\n(.+)\n")
PROMISE = re.compile(
    r"forge-promise/v1\n([^\s+]+)\nleaf ([0-9a-f]{64})\ncommand (.+)\n"
    r"accepted (.+)\nsealed-by (.+)\n"
)
SIDES = ("for", "against", "abstain")
# Of the kinds that are read here; the others are only hashed and shown.
BALLOTS = ("ballot.cast", "ballot.counted")  # the second one in ledgers begun with version 0.1.0
VERSIONS = {
    "ballot.cast": (1,),
    "ballot.counted": (1,),
    "proposal.created": (1, 2, 3),
    "proposal.activated": (1, 2),
    "proposal.decided": (1,),
    "text.erased": (1,),
}


class NotProved(Exception):
    """Why not; ``lines`` are what is printed."""

    def __init__(self, reason: str, *more: str, opening: str = "does not prove") -> None:
        super().__init__(reason)
        self.lines = [f"{opening}: {reason}", *more]


def need(condition: object, reason: str) -> None:
    if not condition:
        raise NotProved(reason)


# What comes from a file is hostile. It is quoted wherever it is printed, and what a terminal could
# take for a command, a new line or a change of direction is replaced.


def show(value: str) -> str:
    return json.dumps(value if len(value) <= 200 else value[:200] + "…", ensure_ascii=False)


def printable(line: str) -> str:
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in line)


def unreadable(path: str, error: Exception) -> NotProved:
    return NotProved(f"{show(path)} cannot be read: {getattr(error, 'strerror', None) or error}")


def read(path: str) -> str:
    try:
        with Path(path).open("rb") as file:
            data = file.read(MOST_BYTES + 1)
        need(len(data) <= MOST_BYTES, f"{show(path)} is larger than {MOST_BYTES:,} bytes")
        return data.decode()
    except (OSError, ValueError) as error:
        raise unreadable(path, error) from None


# Values with one spelling and one meaning: no key twice, no floating point, no unknown key.


def parse_json(text: str, what: str, *, canonical: bool = False) -> Any:
    try:
        text.encode()  # refuses lone surrogates, which no UTF-8 file can mean
        value = json.loads(
            text,
            object_pairs_hook=ordered_object if canonical else unique_object,
            parse_int=small_int,
            parse_float=no_float,
            parse_constant=no_float,
        )
        # RFC 8785 besides the order of keys: no spaces, and nothing escaped without need.
        spelling = json.dumps(value, ensure_ascii=False, separators=(",", ":")) if canonical else ""
    except (ValueError, RecursionError):
        raise NotProved(f"{what} is not JSON of a form that can be checked") from None
    need(not canonical or spelling == text, f"{what} is not canonical JSON")
    return value


def unique_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    need(len(dict(pairs)) == len(pairs), "a JSON object has a key twice")
    return dict(pairs)


def ordered_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Keys ascend by UTF-16 code unit (RFC 8785, section 3.2.3), so none is there twice."""
    names = [name.encode("utf-16-be") for name, _ in pairs]
    need(all(a < b for a, b in pairwise(names)), "the keys of an entry are not in canonical order")
    return dict(pairs)


def small_int(text: str) -> int:
    need(abs(int(text)) < 2**53, "a number is too large to be exact in JSON")
    return int(text)


def no_float(text: str) -> NoReturn:
    raise NotProved(f"{show(text)} is not a whole number; exact decimals are texts")


def fields(value: object, what: str, /, **shape: Any) -> list[Any]:
    """The values of an object that has exactly these keys, of these types."""
    keys = ", ".join(shape)
    if not isinstance(value, dict) or set(value) != set(shape):
        raise NotProved(f"{what} must have these keys and no others: {keys}")
    return [field(value, key, what, kind) for key, kind in shape.items()]


def field(data: dict[str, Any], key: str, what: str, kind: Any = str) -> Any:
    value = data.get(key)
    good = isinstance(value, kind) and not isinstance(value, bool)
    need(good, f"{key} of {what} is missing or of the wrong type")
    return value


def matched(pattern: re.Pattern[str], value: object, what: str) -> re.Match[str]:
    match = pattern.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise NotProved(f"{what} does not have the form that it must have")
    return match


def decimal(value: object, what: str) -> Fraction:
    return Fraction(matched(DECIMAL, value, what)[0])


def plain(value: Fraction) -> str:
    places = next(n for n in range(101) if (value * 10**n).denominator == 1)
    whole, rest = divmod(int(value * 10**places), 10**places)
    return f"{whole}.{rest:0{places}d}" if places else str(whole)


def moment(value: object, what: str) -> str:
    """RFC 3339 in UTC with six digits of fraction, which sorts as text."""
    try:
        if isinstance(value, str) and spelled(datetime.fromisoformat(value)) == value:
            return value
    except (ValueError, OverflowError):
        pass
    raise NotProved(f"{what} is not a time in UTC with six digits of fraction")


def spelled(time: datetime) -> str:
    return time.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


def from_base64(text: str, what: str) -> bytes:
    try:
        raw = b64decode(text, validate=True)
    except ValueError:
        raw = b""
    need(raw and b64encode(raw).decode() == text, f"{what} is not canonical base64")
    return raw


# Signed notes. A signature by an unknown key says nothing; one by a known key must hold.


class Key(NamedTuple):
    name: str
    id: bytes
    public: bytes


class Checkpoint(NamedTuple):
    origin: str
    size: int
    root: bytes


class Promise(NamedTuple):
    origin: str
    leaf: str
    command: str
    accepted: str
    sealed_by: str


def parse_key(vkey: str) -> Key:
    name, hash_, encoded = matched(VKEY, vkey, f"the key {show(vkey)}").groups()
    material = from_base64(encoded, "the last part of the key")
    need(len(material) == 33 and material[0] == 1, f"{show(name)} is not an Ed25519 key for notes")
    id_ = sha256(name.encode() + b"\n" + material).digest()[:4]
    need(id_.hex() == hash_, f"the hash in the key {show(name)} does not fit its name and key")
    return Key(name, id_, material[1:])


def open_note(note: str, keys: Sequence[Key], what: str) -> tuple[str, set[str]]:
    """The text of the note, and the names of those given keys that signed it."""
    text, _, tail = note.rpartition("\n\n")
    text, (*lines, end) = text + "\n", tail.split("\n")
    need(not end and 1 <= len(lines) <= 100, f"{what} is not a signed note")
    names = set()
    for line in lines:
        name, encoded = matched(SIGNATURE, line, f"a signature of {what}").groups()
        raw = from_base64(encoded, f"a signature of {what}")
        for key in keys:
            if (name, raw[:4]) != (key.name, key.id):
                continue
            try:
                Ed25519PublicKey.from_public_bytes(key.public).verify(raw[4:], text.encode())
            except (InvalidSignature, ValueError):
                raise NotProved(f"the signature of {show(name)} under {what} is false") from None
            names.add(name)
    return text, names


def open_checkpoint(note: str, keys: Sequence[Key], what: str = "the checkpoint") -> Checkpoint:
    text, names = open_note(note, keys, what)
    origin, size, root = matched(CHECKPOINT, text, f"the text of {what}").groups()
    need(origin in names, f"{what} is not signed by a given key named {show(origin)}, as the log")
    whole = int(matched(WHOLE, size, f"the size in {what}")[0])
    hash_ = from_base64(root, f"the root in {what}")
    need(whole < 2**63 and len(hash_) == 32, f"{what} has an impossible size or root")
    return Checkpoint(origin, whole, hash_)


def open_promise(note: str, keys: Sequence[Key]) -> Promise:
    text, names = open_note(note, keys, "the promise")
    promise = Promise(*matched(PROMISE, text, "the text of the promise").groups())
    signer = f"{promise.origin}/promises"
    need(signer in names, f"the promise is not signed by a given key named {show(signer)}")
    in_order = moment(promise.accepted, "accepted") <= moment(promise.sealed_by, "sealed-by")
    need(in_order, "the promise ends before it was made")
    return promise


def checkpoint_elsewhere(args: argparse.Namespace, log: Checkpoint | None) -> Checkpoint | None:
    if args.checkpoint is None:
        return None
    what = "the other checkpoint"
    other = open_checkpoint(read(args.checkpoint), args.key, what)
    need(log is None or other.origin == log.origin, f"{what} is of the log {show(other.origin)}")
    return other


def compare(args: argparse.Namespace, log: Checkpoint) -> str:
    """Hold the file's checkpoint against one from elsewhere; returns what stays unknown."""
    other = checkpoint_elsewhere(args, log)
    if other is None:
        return "  that others see the same log: compare its checkpoint with theirs (--checkpoint)"
    need(
        other.size == log.size,
        f"the other checkpoint has size {other.size}, this one {log.size}; whether they are equal"
        " as far as both go was not checked: that needs a consistency proof",
    )
    need(other.root == log.root, two_logs(log.size))
    return "  that others see the same log, except whoever gave you the other, equal checkpoint"


def two_logs(size: int) -> str:
    return (
        f"the log and the other checkpoint differ at size {size}: if both are signed, together"
        " they are evidence against the operator"
    )


# The Merkle tree of RFC 9162. The prefixes keep a leaf from passing for a node.


def leaf_hash(body: bytes) -> bytes:
    return sha256(b"\x00" + body).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    return sha256(b"\x01" + left + right).digest()


def check_included(leaf: bytes, position: int, path: Sequence[object], log: Checkpoint) -> None:
    """Section 2.1.3.2; ``position`` counts from 0. Size and root come from one signed text."""
    problem = f"the entry given for position {position} is not there in the signed log"
    need(0 <= position < log.size and len(path) < 64, problem)
    node, last = position, log.size - 1
    for item in path:
        sibling = bytes.fromhex(matched(HASH, item, "a hash in a path")[0])
        need(last > 0, problem)
        if node & 1 or node == last:
            leaf = node_hash(sibling, leaf)
            while node and not node & 1:
                node, last = node >> 1, last >> 1
        else:
            leaf = node_hash(leaf, sibling)
        node, last = node >> 1, last >> 1
    need(last == 0 and leaf == log.root, problem)


def roots(bodies: Iterable[bytes], most: int, wanted: set[int]) -> tuple[int, dict[int, bytes]]:
    """The number of leaves, and the roots at the wanted sizes.

    ``peaks`` are the roots of the perfect subtrees, one for each bit that is set in the size.
    """
    size, peaks, found = 0, list[bytes](), {0: sha256().digest()}
    for body in bodies:
        need(size < most, "there are more entries than the signed checkpoint has")
        node, bits = leaf_hash(body), size
        while bits & 1:
            node, bits = node_hash(peaks.pop(), node), bits >> 1
        peaks.append(node)
        size += 1
        if size in wanted:
            *left, root = peaks
            while left:
                root = node_hash(left.pop(), root)
            found[size] = root
    return size, found


# Entries: canonical JSON, every byte of which is hashed.


class Entry(NamedTuple):
    leaf: bytes
    actor: str
    at: str
    data: dict[str, Any]
    kind: str
    subject: str
    command: str | None
    position: int


class Ballot(NamedTuple):
    number: int
    choice: str
    weight: Fraction
    accepted: str
    command: str


def parse_entry(body: str, position: int = 0) -> Entry:
    value = parse_json(body, "an entry", canonical=True)
    shape: dict[str, type] = {
        "actor": str,
        "at": str,
        "data": dict,
        "kind": str,
        "subject": str,
        "v": int,
    }
    shape |= {"command": str} if isinstance(value, dict) and "command" in value else {}
    actor, at, data, kind, subject, version, *command = fields(value, "an entry", **shape)
    need(version in VERSIONS.get(kind, range(1, 1_000)), "an entry of an unknown version")
    moment(at, "the time of an entry")
    by = command[0] if command else None
    return Entry(leaf_hash(body.encode()), actor, at, data, kind, subject, by, position)


def parse_ballot(entry: Entry) -> Ballot:
    data, what = entry.data, f"the ballot of {show(entry.actor)}"
    need(data.get("choice") in SIDES, f"the choice of {what} is none")
    return Ballot(
        int(matched(WHOLE, data.get("ballot"), f"the number of {what}")[0]),
        data["choice"],
        decimal(data.get("weight"), f"the weight of {what}"),
        moment(data.get("accepted_at"), f"accepted_at of {what}"),
        f"{field(data, 'issuer', what)}/{field(data, 'command', what)}",
    )


# A receipt: one entry, and the promise that it will be in the log or the proof that it is.


def check_receipt(args: argparse.Namespace) -> list[str]:
    shape = {"format": str, "entry": str, "promise": str | None, "proof": dict | None}
    form, body, note, proof = fields(parse_json(read(args.file), "the file"), "a receipt", **shape)
    need(form == "forge-receipt/1", "the file is not a forge-receipt/1")
    entry = parse_entry(body)
    words, command = f"{show(entry.kind)} on {show(entry.subject)}, {entry.at}", entry.command
    if entry.kind in BALLOTS:
        ballot = parse_ballot(entry)
        command = ballot.command
        words = (
            f"voted {ballot.choice.upper()} with weight {plain(ballot.weight)} on proposal"
            f" {show(entry.subject)}, accepted {ballot.accepted}"
        )
    words = f"  {show(entry.actor)}: {words}"
    promise = open_promise(note, args.key) if note is not None else None
    need(not promise or promise.leaf == entry.leaf.hex(), "the promise is for another entry")
    need(not promise or promise.command == command, "the promise is for another command")
    if proof is not None:
        return check_proof(args, entry, words, proof, promise)
    checkpoint_elsewhere(args, None)
    if promise is None:
        raise NotProved("the receipt holds neither a proof nor a promise")
    raise only_promised(promise, words, args.now)


def check_proof(
    args: argparse.Namespace, entry: Entry, words: str, proof: object, promise: Promise | None
) -> list[str]:
    shape = {"position": int, "size": int, "path": list, "checkpoint": str}
    position, size, path, note = fields(proof, "the proof", **shape)
    log = open_checkpoint(note, args.key)
    need(size == log.size, "the proof is for another size than the signed checkpoint")
    need(not promise or promise.origin == log.origin, "promise and proof are of different logs")
    check_included(entry.leaf, position, path, log)
    return [
        f"PROOF: the log {show(log.origin)} of size {size} holds at position {position}:",
        words,
        "Not proved by this:",
        "  that a ballot counts: a later one of the same member replaces it",
        compare(args, log),
    ]


def only_promised(promise: Promise, words: str, now: str) -> NotProved:
    told = (
        f"  PROMISE: the log {show(promise.origin)} accepted it {promise.accepted} and will hold it"
        f" by {promise.sealed_by}; now it is {now}"
    )
    if now <= promise.sealed_by:
        wait = "  The promise is not overdue: ask for the proof when it is."
        return NotProved("only a promise", words, told, wait, opening="does not prove inclusion")
    overdue = (
        "  The promise is overdue: where the log does not show the entry, this file is evidence"
        f" against the operator, whose key {show(promise.origin + '/promises')} signed it."
    )
    opening = "does not prove inclusion"
    return NotProved("an unfulfilled promise", words, told, overdue, opening=opening)


# A bundle: the entries of one proposal, each with its proof, and the texts that they commit to.


def check_bundle(args: argparse.Namespace) -> list[str]:
    lists = dict.fromkeys(("entries", "texts", "erased"), list)
    shape = {"format": str, "proposal": str, "checkpoint": str, **lists}
    values = fields(parse_json(read(args.file), "the file"), "a bundle", **shape)
    form, proposal, note, items, texts, erased = values
    need(form == "forge-bundle/1", "the file is not a forge-bundle/1")
    log = open_checkpoint(note, args.key)
    entries = [check_item(item, log) for item in items]
    ascending = all(a.position < b.position for a, b in pairwise(entries))
    need(ascending, "the positions of the entries do not ascend")
    check_texts(entries, texts, erased)
    created, activated, decided, ballots = sort_out(entries, proposal)
    sums = recount(ballots, activated, decided)
    outcome, remark = check_decision(decided, sums, entries)
    where = f"in the log {show(log.origin)} of size {log.size}"
    known = [*(text["commitment"] for text in texts), *erased]
    named = {key: created.data.get(key) for key in ("title", "description", "reason")}
    hidden = [key for key, value in named.items() if value not in known]
    happened = [entry for entry in entries if entry.kind != "ballot.cast"]
    return [
        f"PROOF: proposal {show(proposal)} {where}: {outcome}",
        f"  {in_words(sums)}: recounted from {len(ballots)} ballots. {remark}",
        f"  Entries: {len(entries)}, texts checked: {len(texts)}, erased: {len(erased)}.",
        f"  Of the proposal's own texts not shown: {', '.join(hidden) or 'none'}.",
        "What happened besides ballots:",
        *(f"  {e.position} {e.at} {show(e.kind)} by {show(e.actor)}" for e in happened),
        "Not proved by this:",
        "  that the log has no other entries about the proposal: that takes the whole ledger",
        "  that each member's weight was right when the voting opened",
        compare(args, log),
    ]


def in_words(sums: dict[str, Fraction]) -> str:
    return ", ".join(f"{side} {plain(sums[side])}" for side in SIDES)


def check_item(item: object, log: Checkpoint) -> Entry:
    position, body, path = fields(item, "an item of entries", position=int, body=str, path=list)
    entry = parse_entry(body, position)
    check_included(entry.leaf, position, path, log)
    return entry


def check_texts(entries: list[Entry], texts: list[Any], erased: list[Any]) -> None:
    """Both lists ascend by commitment, so that one set of texts has one spelling."""
    shown = []
    for text in texts:
        commitment, salt, body = fields(text, "a text", commitment=str, salt=str, body=str)
        salted = bytes.fromhex(matched(SALT, salt, "the salt of a text")[0])
        salted += body.encode(errors="surrogatepass")
        need(sha256(salted).hexdigest() == commitment, "a text is not the one committed to")
        shown.append(commitment)
    erased = [matched(HASH, commitment, "an item of erased")[0] for commitment in erased]
    ascending = all(a < b for list_ in (shown, erased) for a, b in pairwise(list_))
    need(ascending, "texts and erased do not ascend by commitment")
    named = {text for e in entries if e.kind != "text.erased" for text in strings(e.data)}
    named |= {field(e.data, "reason", "an erasure") for e in entries if e.kind == "text.erased"}
    need({*shown, *erased} <= named, "no entry commits to one of the texts or of the erased")
    gone = {field(e.data, "commitment", "an erasure") for e in entries if e.kind == "text.erased"}
    need(set(erased) == gone, "erased does not name exactly what entries say was erased")
    need(gone.isdisjoint(shown), "a text that was erased is there")


def strings(value: object) -> Iterator[str]:
    waiting = [value]
    while waiting:
        value = waiting.pop()
        if isinstance(value, str):
            yield value
        elif isinstance(value, (dict, list)):
            waiting.extend(value.values() if isinstance(value, dict) else value)


def sort_out(
    entries: list[Entry], proposal: str
) -> tuple[Entry, Entry | None, Entry | None, list[Entry]]:
    kinds = ("proposal.created", "proposal.activated", "proposal.decided", *BALLOTS)
    of = {kind: [entry for entry in entries if entry.kind == kind] for kind in kinds}
    created, activated, decided, *cast = of.values()
    ballots = sorted(chain(*cast), key=lambda entry: entry.position)
    own = all(entry.subject == proposal for entry in chain(*of.values()))
    need(own, "an entry is about another proposal than the bundle")
    need(len(created) == 1, "the proposal is not created exactly once")
    need(max(len(activated), len(decided)) <= 1, "the proposal is activated or decided twice")
    opened = activated or not (decided or ballots)
    need(opened, "there are ballots or a decision, but nothing opened the voting")
    return created[0], next(iter(activated), None), next(iter(decided), None), ballots


def recount(
    entries: list[Entry], activated: Entry | None, decided: Entry | None
) -> dict[str, Fraction]:
    """Sum each member's ballot with the greatest number."""
    closes_at = moment(activated.data.get("closes_at"), "closes_at") if activated else ""
    effective: dict[str, Ballot] = {}
    seen: set[int | str] = set()
    for entry in entries:
        ballot, where = parse_ballot(entry), f"the ballot at position {entry.position}"
        # Of old the entry's own time was that of counting.
        last = ballot.accepted if entry.kind == "ballot.counted" else max(entry.at, ballot.accepted)
        need(last <= closes_at, f"{where} is later than {closes_at}")
        in_time = decided is None or entry.position < decided.position
        need(in_time, f"{where} comes after the decision")
        need(seen.isdisjoint({ballot.number, ballot.command}), f"{where} is there twice")
        seen |= {ballot.number, ballot.command}
        if ballot.number > effective.get(entry.actor, ballot._replace(number=-1)).number:
            effective[entry.actor] = ballot
    sums = dict.fromkeys(SIDES, Fraction(0))
    for ballot in effective.values():
        sums[ballot.choice] += ballot.weight
    return sums


def check_decision(
    decided: Entry | None, sums: dict[str, Fraction], entries: list[Entry]
) -> tuple[str, str]:
    """Hold the decision against the recount; returns its outcome and a remark."""
    if decided is None:
        return "NOT DECIDED here", "No decision is among the entries."
    outcome = field(decided.data, "outcome", "the decision")
    decision = field(decided.data, "decision", "the decision", dict)
    totals = field(decision, "totals", "the decision", dict)
    checks = field(decision, "checks", "the decision", list)
    held = [isinstance(check, dict) and check.get("held") is True for check in checks]
    follows = "approved" if held and all(held) else "rejected"
    need(outcome == follows, f"the outcome is {show(outcome)}, but its checks say {follows}")
    stated = {side: decimal(totals.get(side), f"the total {side}") for side in SIDES}
    set_aside = decision.get("set_aside") is not None
    delegated = any(entry.kind == "delegation.set" for entry in entries)
    for side in SIDES:
        good = stated[side] == sums[side] or set_aside or (delegated and stated[side] > sums[side])
        numbers = f"{plain(stated[side])}, but its ballots give {plain(sums[side])}"
        need(good, f"the decision counts {side} {numbers}")
    if not (set_aside or delegated):
        return outcome.upper(), "The decision counts the same."
    why = " and ".join(["delegations"] * delegated + ["ballots set aside"] * set_aside)
    return outcome.upper(), f"The decision counts {in_words(stated)}: {why} are not recounted here."


# A ledger: a header, then every entry in order, one a line; plain or gzip.


def check_ledger(args: argparse.Namespace) -> list[str]:
    lines = chain.from_iterable(ledger_lines(args.file))
    header = parse_json(next(lines, b"").decode(errors="replace"), "the first line")
    form, note, size = fields(header, "the first line", format=str, checkpoint=str, size=int)
    need(form == "forge-ledger/1", "the file is not a forge-ledger/1")
    log = open_checkpoint(note, args.key)
    need(size == log.size, "the first line has another size than its signed checkpoint")
    other = checkpoint_elsewhere(args, log) or log
    lost = (
        f"the ledger has lost its tail: the other checkpoint has {other.size} entries, not {size}"
    )
    need(other.size <= size, lost)
    found, root = roots(lines, size, {size, other.size})
    need(found == size, f"the ledger ends after {found} of {size} entries")
    need(root[size] == log.root, "the entries are not those of the signed checkpoint")
    need(root[other.size] == other.root, two_logs(other.size))
    seen = f", the first {other.size} as in the other checkpoint" if args.checkpoint else ""
    return [
        f"PROOF: the log {show(log.origin)} from its first entry to size {size}{seen}",
        "Not proved by this:",
        "  that the entries follow the rules: they were hashed, not interpreted",
        f"  that the log has not grown beyond {size}, and that others see the same log",
    ]


def ledger_lines(path: str) -> Iterator[list[bytes]]:
    rest = b""
    try:
        with Path(path).open("rb") as raw:
            zipped = raw.peek(2)[:2] == b"\x1f\x8b"
            with gzip.GzipFile(fileobj=raw) if zipped else raw as file:
                while block := file.read(BLOCK):
                    *lines, rest = (rest + block).split(b"\n")
                    need(len(rest) <= MOST_LINE, f"a line is longer than {MOST_LINE:,} bytes")
                    yield lines
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise unreadable(path, error) from None
    need(not rest, "the file ends within a line")


# The command line.


def key_argument(given: str) -> list[Key]:
    try:
        lines = [given] if VKEY.fullmatch(given) else read(given).split("\n")
        keys = [parse_key(line.strip()) for line in lines if line.strip()]
        need(keys, f"{show(given)} holds no key")
    except NotProved as problem:
        raise argparse.ArgumentTypeError(printable(str(problem))) from None
    return keys


def now_argument(given: str) -> str:
    try:
        time = datetime.fromisoformat(given)
        need(time.tzinfo, "no time zone")
        return spelled(time)
    except (ValueError, OverflowError, NotProved):
        raise argparse.ArgumentTypeError("not a time of RFC 3339 with a time zone") from None


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    top = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    commands = top.add_subparsers(required=True, metavar="receipt|bundle|ledger")
    for check in (check_receipt, check_bundle, check_ledger):
        command = commands.add_parser(check.__name__.removeprefix("check_"))
        command.set_defaults(check=check)
        command.add_argument("file", metavar="FILE")
        about = "name+hash+base64, or a file with one a line; may be repeated"
        command.add_argument("--key", type=key_argument, action="extend", required=True, help=about)
        command.add_argument("--checkpoint", metavar="FILE", help="another, to compare with")
        if check is check_receipt:
            now = spelled(datetime.now(UTC))
            command.add_argument("--now", type=now_argument, default=now, metavar="RFC3339")
    return top.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    args = parse_arguments(argv)
    try:
        lines, status = args.check(args), 0
    except NotProved as problem:
        lines, status = problem.lines, 1
    except Exception as error:  # noqa: BLE001 - what cannot be checked is not proved
        lines, status = [f"does not prove: the check fails with {type(error).__name__}"], 1
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    sys.stdout.write("".join(f"{printable(line)}\n" for line in lines))
    return status


if __name__ == "__main__":
    sys.exit(main())
