"""Witnesses: they cosign what extends what they saw, and nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forge_core.database import transaction
from forge_core.errors import Inconsistent, Refused
from forge_core.ledger import keys, merkle
from forge_core.ledger.checkpoints import CheckpointFile
from forge_core.ledger.notes import KeyKind, Note, NoteInvalid, Signature, SigningKey
from forge_core.ledger.statements import Checkpoint, sign_checkpoint
from forge_core.ledger.witnessing import Request, Witness, keep_cosignature, request
from tests.core.factories import House, signer

NOW = 1_800_000_000
LOG = SigningKey.generate("forge.test")
WITNESS_KEY = SigningKey.generate("wit.example", KeyKind.COSIGNATURE)


@pytest.fixture
def witness(tmp_path: Path) -> Witness:
    return Witness.beside(tmp_path / "witness", WITNESS_KEY)


# Without a house: a log of twenty leaves

LEAVES = [sha256(bytes([n])).digest() for n in range(20)]


def node(level: int, index: int) -> bytes:
    return merkle.perfect_root(LEAVES[index << level : (index + 1) << level])


def signed(size: int, root: bytes | None = None, key: SigningKey = LOG) -> str:
    root = merkle.root(size, node) if root is None else root
    return sign_checkpoint(Checkpoint(key.name, size, root), key).to_text()


def asked(size: int, since: int = 0) -> Request:
    proof = merkle.consistency_proof(since, size, node) if since else []
    return Request(since, tuple(proof), signed(size))


def cosigned_at(note: str, line: str) -> int | None:
    return Note.parse(note).with_line(line).cosigned_at(WITNESS_KEY.verifier)


def test_the_first_checkpoint_is_cosigned_on_its_own_word(witness):
    line = witness.cosign(asked(7), LOG.verifier, at=NOW)

    assert cosigned_at(signed(7), line) == NOW
    assert witness.memory.read_text() == signed(7)


def test_a_later_checkpoint_is_cosigned_with_its_proof(witness):
    """INV-45: also after a restart, for the memory is a file."""
    witness.cosign(asked(7), LOG.verifier, at=NOW)
    again = Witness.beside(witness.memory.with_name("witness"), WITNESS_KEY)

    line = again.cosign(asked(12, since=7), LOG.verifier, at=NOW + 9)

    assert cosigned_at(signed(12), line) == NOW + 9
    assert again.memory.read_text() == signed(12)


def test_the_same_checkpoint_can_be_cosigned_again(witness):
    first = witness.cosign(asked(7), LOG.verifier, at=NOW)

    assert witness.cosign(asked(7, since=7), LOG.verifier, at=NOW) == first


OTHER = b"\x07" * 32
NOT_EXTENDING: Mapping[str, Request] = {
    "the same size with another root": Request(7, (), signed(7, OTHER)),
    "a changed tree": replace(asked(12, since=7), note=signed(12, OTHER)),
    "no proof": replace(asked(12, since=7), proof=()),
    "a proof of another start": replace(asked(12, since=6), since=7),
    "a smaller tree": Request(7, (), signed(6)),
    "a proof of something else": replace(asked(12, since=7), proof=(b"short",)),
}


@pytest.mark.parametrize("name", NOT_EXTENDING)
def test_what_does_not_extend_what_was_seen_is_not_cosigned(witness, name):
    """INV-45: and the witness goes on remembering what it saw."""
    witness.cosign(asked(7), LOG.verifier, at=NOW)

    with pytest.raises(Inconsistent):
        witness.cosign(NOT_EXTENDING[name], LOG.verifier, at=NOW)

    assert witness.memory.read_text() == signed(7)


STRANGER = SigningKey.generate("forge.test")
ELSEWHERE = SigningKey.generate("other.test")


@pytest.mark.parametrize(
    ("note", "log"),
    [
        (signed(7, key=STRANGER), LOG),
        (signed(7, key=ELSEWHERE), LOG),
        (signed(7).replace("\n7\n", "\n8\n"), LOG),
        (signed(7).partition("\n\n")[0], LOG),
        ("", LOG),
        (signed(7), WITNESS_KEY),
    ],
    ids=["a namesake's", "another log's", "changed", "unsigned", "empty", "a witness for a log"],
)
def test_what_the_log_did_not_sign_is_not_cosigned(witness, note, log):
    """INV-45."""
    with pytest.raises(NoteInvalid):
        witness.cosign(Request(0, (), note), log.verifier, at=NOW)

    assert not witness.memory.exists()


@pytest.mark.parametrize("since", [0, 6, 8])
def test_a_proof_since_another_size_is_refused_with_the_right_one(witness, since):
    witness.cosign(asked(7), LOG.verifier, at=NOW)

    with pytest.raises(Refused, match="SIZE_OTHER: this witness saw 7 entries last"):
        witness.cosign(asked(12, since=since), LOG.verifier, at=NOW)

    assert witness.memory.read_text() == signed(7)


def test_a_new_witness_takes_no_proof_since_what_it_never_saw(witness):
    with pytest.raises(Refused, match="SIZE_OTHER"):
        witness.cosign(asked(12, since=7), LOG.verifier, at=NOW)

    assert not witness.memory.exists()


# Requests as text


@given(
    since=st.integers(0, 2**63 - 1),
    proof=st.lists(st.binary(min_size=32, max_size=32), max_size=64),
    note=st.text(),
)
@settings(derandomize=True, deadline=None)
def test_a_request_is_read_as_it_was_written(since, proof, note):
    made = Request(since, tuple(proof), note)

    assert Request.parse(made.to_text()) == made


def test_a_request_has_the_form_that_witnesses_everywhere_read():
    """c2sp.org/tlog-witness."""
    made = Request(7, (b"\0" * 32, b"\1" * 32), "forge.test\n12\n")

    assert made.to_text() == (
        "old 7\n"
        "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n"
        "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=\n"
        "\n"
        "forge.test\n12\n"
    )


@pytest.mark.parametrize(
    "head",
    [
        "",
        "old",
        "old ",
        "new 7",
        "old 07",
        "old -7",
        "old +7",
        "old 7 ",
        "old 7_0",
        "old \u0667",
        "old ²",
        f"old {'9' * 20}",
        f"old {'9' * 5_000}",
        "old 7\n!",
        "old 7\nAAA",
        "old 7\r",
        "old 7\n\udc80",
    ],
)
def test_what_is_no_request_is_refused_as_a_note_would_be(head):
    with pytest.raises(NoteInvalid):
        Request.parse(f"{head}\n\n{signed(7)}")


LINES = st.one_of(
    st.text(),
    st.sampled_from(["old 0", "old 7", *asked(12, since=7).to_text().split("\n")]),
)


@given(
    st.one_of(
        st.text(st.characters(codec=None)),
        st.lists(LINES, max_size=12).map("\n".join),
    )
)
@settings(derandomize=True, deadline=None, max_examples=500)
def test_hostile_text_is_refused_and_nothing_else(text):
    with suppress(NoteInvalid):
        Request.parse(text)


# With a house


@dataclass(frozen=True)
class Desk:
    """A house whose checkpoints are in ``folder``, and a witness that it knows."""

    house: House
    witness: Witness
    folder: Path

    def ask(self, since: int = 0) -> Request:
        with transaction(self.house.app) as session:
            return Request.parse(request(session, since).to_text())

    def cosign(self, since: int = 0) -> str:
        log = signer(self.folder).key.verifier
        return self.witness.cosign(self.ask(since), log, at=NOW)

    def keep(self, line: str) -> int:
        with transaction(self.house.app) as session:
            return keep_cosignature(session, line)

    def grow(self) -> int:
        self.house.propose("gus")
        return self.house.checkpoint(self.folder).size

    def kept(self) -> list[tuple[int, str]]:
        return self.house.sql("SELECT size, line FROM ledger_cosignatures ORDER BY size")

    def verify(self) -> list[object]:
        return self.house.verify(CheckpointFile(self.folder / "checkpoints"))


@pytest.fixture
def desk(house: House, witness: Witness, tmp_path: Path) -> Desk:
    with transaction(house.app) as session:
        keys.add_witness(session, witness.key.verifier, actor="cora")
    house.checkpoint(tmp_path)
    return Desk(house, witness, tmp_path)


def test_kept_cosignatures_pass_the_verification(desk):
    """INV-45: the first since nothing, the second with a proof."""
    first = desk.cosign()
    size = desk.keep(first)
    larger = desk.grow()
    second = desk.cosign(since=size)
    assert desk.keep(second) == larger

    assert desk.kept() == [(size, first), (larger, second)]
    assert desk.verify() == []


def test_keeping_a_cosignature_twice_keeps_one(desk):
    line = desk.cosign()

    assert desk.keep(line) == desk.keep(line)

    assert len(desk.kept()) == 1


def test_a_cosignature_is_kept_though_checkpoints_went_on_meanwhile(desk):
    """A line may travel for longer than the ten seconds between two checkpoints."""
    size = Checkpoint.parse(Note.parse(desk.ask().note).text).size
    line = desk.cosign()
    for _ in range(3):
        desk.grow()

    assert desk.keep(line) == size

    assert desk.kept() == [(size, line)]
    assert desk.verify() == []


@pytest.mark.parametrize("name", ["wit.example", "other.example"])
def test_a_line_of_an_unknown_witness_is_not_kept(desk, name):
    unknown = SigningKey.generate(name, KeyKind.COSIGNATURE)
    line = unknown.cosign(Note.parse(desk.ask().note).text, NOW)

    with pytest.raises(Refused, match="WITNESS_UNKNOWN"):
        desk.keep(line)

    assert desk.kept() == []


def test_the_logs_own_line_is_no_cosignature(desk):
    (own,) = Note.parse(desk.ask().note).signatures

    with pytest.raises(Refused, match="WITNESS_UNKNOWN"):
        desk.keep(own.line)


FORGERIES = {
    "another text": lambda text, _: WITNESS_KEY.cosign(text.replace("test", "other"), NOW),
    "a longer text": lambda text, _: "more\n\n" + WITNESS_KEY.cosign(f"{text}\nmore\n", NOW),
    "another time": lambda _, line: at_another_time(line),
    "two lines": lambda _, line: f"{line}\n{line}",
    "a newline": lambda _, line: f"{line}\n",
    "cut": lambda _, line: line[:-8],
    "nothing": lambda *_: "",
    "words": lambda *_: "I saw it",
}


def at_another_time(line: str) -> str:
    signature = Signature.parse(line)
    return replace(signature, raw=(NOW + 1).to_bytes(8, "big") + signature.raw[8:]).line


@pytest.mark.parametrize("name", FORGERIES)
def test_a_line_that_cosigns_no_checkpoint_is_not_kept(desk, name):
    """INV-45."""
    text = Note.parse(desk.ask().note).text
    forged = FORGERIES[name](text, desk.cosign())

    with pytest.raises(Refused, match="COSIGNATURE_INVALID"):
        desk.keep(forged)

    assert desk.kept() == []


def test_there_is_nothing_to_cosign_before_the_first_checkpoint(house):
    with transaction(house.app) as session, pytest.raises(Refused, match="NOT_SIGNED"):
        request(session, 0)


def test_a_witness_that_saw_more_than_there_is_gets_no_request(desk):
    with transaction(desk.house.app) as session, pytest.raises(Refused, match="SIZE_UNKNOWN"):
        request(session, 10_000)


def test_a_witness_is_added_once_and_only_with_a_key_that_cosigns(desk):
    with transaction(desk.house.app) as session:
        with pytest.raises(Refused, match="KEY_KNOWN"):
            keys.add_witness(session, WITNESS_KEY.verifier, actor="cora")
        with pytest.raises(Refused, match="KEY_KIND"):
            keys.add_witness(session, LOG.verifier, actor="cora")
