"""Checkpoints: whatever is killed, the same notes end up everywhere, and none covers up a loss."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path

import pytest

from forge_core.database import make_engine, transaction
from forge_core.errors import Inconsistent, Refused
from forge_core.ledger import keys, merkle
from forge_core.ledger.checkpoints import CheckpointFile, Draft, Signer, checkpoint, store
from forge_core.ledger.notes import Note, SigningKey
from forge_core.ledger.statements import Checkpoint, sign_checkpoint
from tests.core.factories import House, signer
from tests.support import until


@pytest.fixture
def log(tmp_path: Path) -> CheckpointFile:
    """Where ``House.checkpoint(tmp_path)`` keeps its copies."""
    return CheckpointFile(tmp_path / "checkpoints")


def grow(house: House) -> None:
    house.propose("gus")
    house.seal()


def stored(house: House) -> list[str]:
    return [note for (note,) in house.sql("SELECT note FROM ledger_checkpoints ORDER BY size")]


def size_of(note: str) -> int:
    return Checkpoint.parse(Note.parse(note).text).size


def assert_the_same_notes_everywhere(house: House, log: CheckpointFile) -> None:
    """INV-45: the database and the file agree, nothing is there twice, and all of it verifies."""
    notes = list(log.notes())
    assert notes == stored(house)
    assert len(set(notes)) == len(notes)
    assert house.verify(log) == []


# Kills

CRASH = """
import sys
from pathlib import Path
from forge_core.database import make_engine
from forge_core.ledger.checkpoints import CheckpointFile, Signer, checkpoint
from forge_core.ledger.notes import SigningKey
path = Path(sys.argv[2])
signer = Signer.beside(path, SigningKey.parse(path.read_text()))
checkpoint(make_engine(sys.argv[1]), signer, [CheckpointFile(Path(sys.argv[3]))])
"""


def crash(house: House, log: CheckpointFile, key_file: Path, point: str) -> None:
    """Checkpoint in a process that kills itself at a failpoint."""
    url = house.server.url("forge_app", house.name)
    done = subprocess.run(
        [sys.executable, "-c", CRASH, url, key_file, log.path],
        env={**os.environ, "FORGE_FAILPOINTS": f"{point}=kill"},
        check=False,
        timeout=60,
    )
    assert done.returncode == -signal.SIGKILL
    open_ = "SELECT count(*) FROM pg_stat_activity WHERE datname = %s AND state LIKE 'idle in%%'"
    until(lambda: house.one(open_, house.name) == 0)


@pytest.mark.parametrize(
    ("point", "written", "kept"),
    [("checkpoint.signed", 0, 0), ("checkpoint.written", 1, 0), ("checkpoint.stored", 1, 1)],
)
def test_what_a_killed_checkpointer_signed_gets_everywhere(
    house, log, tmp_path, point, written, kept
):
    """INV-45: and the tree has grown before the next run."""
    house.seal()
    made = signer(tmp_path)

    crash(house, log, tmp_path / "ledger-key", point)

    signed = made.last()
    assert signed is not None
    assert list(log.notes()) == [signed.to_text()] * written
    assert stored(house) == [signed.to_text()] * kept
    grow(house)
    house.checkpoint(tmp_path)
    assert next(log.notes()) == signed.to_text()
    assert len(stored(house)) == 2
    assert_the_same_notes_everywhere(house, log)


@pytest.mark.parametrize("point", ["checkpoint.signed", "checkpoint.written", "checkpoint.stored"])
def test_a_checkpointer_killed_in_a_later_round_is_made_up_for(house, log, tmp_path, point):
    """INV-45."""
    house.checkpoint(tmp_path)
    grow(house)

    crash(house, log, tmp_path / "ledger-key", point)
    house.checkpoint(tmp_path)

    assert len(stored(house)) == 2
    assert_the_same_notes_everywhere(house, log)


def test_what_a_kill_left_of_a_new_memory_is_not_read(house, log, tmp_path):
    house.checkpoint(tmp_path)
    (tmp_path / "ledger-key.last.new").write_text("forge.test\n1")
    grow(house)
    house.checkpoint(tmp_path)

    assert_the_same_notes_everywhere(house, log)


@pytest.mark.parametrize("bytes_", [1, 50, -1])
def test_a_note_that_a_crash_tore_is_completed_by_the_next_run(house, log, tmp_path, bytes_):
    """INV-45: nothing is left of it that a verification would have to explain."""
    house.checkpoint(tmp_path)
    whole = log.path.read_bytes()
    log.path.write_bytes(whole[:bytes_])

    house.checkpoint(tmp_path)

    assert log.path.read_bytes().startswith(whole)
    assert_the_same_notes_everywhere(house, log)


# The file


def test_a_torn_last_line_that_is_not_of_the_next_note_keeps_a_line_of_its_own(log):
    log.append("one\n")
    with log.path.open("a") as file:
        file.write('"tor')
    log.append("two\n")

    assert log.path.read_text() == '"one\\n"\n"tor\n"two\\n"\n'
    assert list(log.notes()) == ["one\n", '"tor', "two\n"]


def test_a_line_that_only_lacks_its_newline_is_whole(log):
    log.append("one\n")
    log.path.write_bytes(log.path.read_bytes()[:-1])
    log.append("two\n")

    assert list(log.notes()) == ["one\n", "two\n"]


@pytest.mark.parametrize(
    "line", ["", "17", '{"a": 1}', "null", "[" * 100_000, "9" * 5_000, "a\u2028b\x85\x0cc\rd"]
)
def test_what_is_unreadable_in_the_file_comes_as_it_is(log, line):
    log.path.write_bytes(f"{line}\n{json.dumps('good')}\n".encode())

    assert list(log.notes()) == [line, "good"]


def test_bytes_that_are_no_text_do_not_hide_the_other_lines(log):
    log.path.write_bytes(b'\xff\xfe\n"good"\n')

    assert list(log.notes()) == ["\ufffd\ufffd", "good"]


def test_a_file_that_is_not_there_holds_nothing(log):
    assert list(log.notes()) == []


def test_a_full_disk_is_an_error_and_what_it_tore_is_completed(log, monkeypatch):
    """A short write says nothing of itself; the one after it says why."""
    written: list[int] = []

    def write(descriptor: int, given: bytes, *, really: Callable[..., int] = os.write) -> int:
        if written:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written.append(really(descriptor, given[:5]))
        return written[0]

    with monkeypatch.context() as patched:
        patched.setattr(os, "write", write)
        with pytest.raises(OSError, match="No space left"):
            log.append("one\n")
    assert list(log.notes()) == ['"one\\']
    log.append("one\n")

    assert list(log.notes()) == ["one\n"]


# What is refused

LEAVES = [sha256(bytes([n])).digest() for n in range(20)]


def node(level: int, index: int) -> bytes:
    return merkle.perfect_root(LEAVES[index << level : (index + 1) << level])


def draft(size: int, since: int = 0) -> Draft:
    proof = merkle.consistency_proof(since, size, node) if since else []
    return Draft(size, merkle.root(size, node), tuple(proof))


@pytest.fixture
def signing(tmp_path: Path) -> Signer:
    """A signer that has signed the first ten leaves."""
    made = signer(tmp_path)
    made.sign(draft(10))
    return made


OTHER = b"\x07" * 32


@pytest.mark.parametrize(
    "given",
    [
        draft(9),
        Draft(0, merkle.EMPTY_ROOT),
        Draft(10, OTHER),
        Draft(13, OTHER, draft(13, since=10).proof),
        Draft(13, draft(13).root),
        Draft(13, draft(13).root, draft(13, since=9).proof),
        Draft(13, draft(13).root, draft(14, since=10).proof),
    ],
    ids=[
        "shrunken",
        "empty",
        "changed",
        "changed-longer",
        "unproven",
        "of-another-start",
        "of-another-end",
    ],
)
def test_nothing_is_signed_that_does_not_extend_what_was_signed(signing, monkeypatch, given):
    """INV-45."""
    before = signing.memory.read_bytes()
    monkeypatch.setattr(SigningKey, "sign", lambda *_: pytest.fail("it was signed"))

    with pytest.raises(Inconsistent):
        signing.sign(given)

    assert signing.memory.read_bytes() == before


def test_what_extends_is_signed_and_remembered(signing):
    note = signing.sign(draft(13, since=10))

    assert signing.last() == note
    assert note.signed_by(signing.key.verifier)
    assert Checkpoint.parse(note.text) == Checkpoint("forge.test", 13, draft(13).root)


def test_signing_the_same_tree_twice_gives_the_same_note(signing):
    last = signing.last()

    assert signing.sign(draft(10)) == last == signing.last()


@pytest.mark.parametrize(
    ("tampering", "said"),
    [
        ("DELETE FROM ledger_order WHERE position >= 4", "there are 4: entries are missing"),
        ("UPDATE ledger_order SET leaf_hash = sha256('x') WHERE position = 2", "does not extend"),
    ],
    ids=["shrunken", "changed"],
)
def test_a_house_that_lost_or_changed_entries_gets_no_checkpoint(
    house, log, tmp_path, tampering, said
):
    """INV-45: nothing is signed, written or stored, however often it is tried."""
    house.checkpoint(tmp_path)
    memory = signer(tmp_path).memory
    before = (stored(house), log.path.read_bytes(), memory.read_bytes())
    with house.superuser() as connection, connection.cursor() as cursor:
        cursor.execute("ALTER TABLE ledger_order DISABLE TRIGGER ALL")
        cursor.execute(tampering)

    for _ in range(2):
        with pytest.raises(Inconsistent, match=said):
            checkpoint(house.app, signer(tmp_path), [log])

    assert (stored(house), log.path.read_bytes(), memory.read_bytes()) == before


def test_another_note_over_the_same_entries_is_not_stored(house, tmp_path):
    """INV-45: the same one again changes nothing."""
    house.checkpoint(tmp_path)
    (kept,) = stored(house)
    key = signer(tmp_path).key
    other = sign_checkpoint(Checkpoint(key.name, size_of(kept), OTHER), key)
    with transaction(house.app) as session:
        store(session, Note.parse(kept))
        with pytest.raises(Inconsistent):
            store(session, other)

    assert stored(house) == [kept]


# Rounds


def test_the_same_tree_again_is_the_same_note_and_no_second_line(house, log, tmp_path):
    house.seal()
    first = checkpoint(house.app, signer(tmp_path), [log])
    once = log.path.read_bytes()
    again = checkpoint(house.app, signer(tmp_path), [log])

    assert again == first
    assert log.path.read_bytes() == once
    assert_the_same_notes_everywhere(house, log)


def test_there_is_no_checkpoint_before_the_ledger_begins(empty_house, log, tmp_path):
    made = signer(tmp_path)

    assert checkpoint(empty_house.app, made, [log]) is None

    assert empty_house.one("SELECT count(*) FROM ledger_entries") == 0
    assert (list(log.notes()), stored(empty_house), made.last()) == ([], [], None)


def test_two_checkpointers_at_once_write_each_note_once(house, log, tmp_path):
    """INV-45: they set out together while the tree grows, and neither raises a false alarm."""
    house.seal()
    signer(tmp_path)  # so that both find the key
    together = threading.Barrier(2)

    def sign_often() -> None:
        engine = make_engine(house.server.url("forge_app", house.name), pool_size=1)
        try:
            for _ in range(25):
                together.wait(timeout=10)
                assert checkpoint(engine, signer(tmp_path), [log]) is not None
        finally:
            engine.dispose()

    with ThreadPoolExecutor(2) as pool:
        both = [pool.submit(sign_often) for _ in range(2)]
        while not all(one.done() for one in both):
            grow(house)
        for one in both:
            one.result()

    assert len(stored(house)) > 2
    assert_the_same_notes_everywhere(house, log)


# Keys


def rotate(house: House, folder: Path) -> Signer:
    """A new key, endorsed by the old one, with the same memory."""
    old = signer(folder)
    new = SigningKey.generate(old.key.name)
    with transaction(house.app) as session:
        keys.rotate(session, old.key, new.verifier, keys.LOG, actor="cora")
    return Signer(new, old.memory)


def test_after_a_rotation_the_new_key_signs_what_comes_next(house, log, tmp_path):
    """INV-45."""
    house.checkpoint(tmp_path)
    old = signer(tmp_path).key.verifier
    new = rotate(house, tmp_path)
    house.seal()

    checkpoint(house.app, new, [log])

    first, second = map(Note.parse, stored(house))
    assert (first.signed_by(old), first.signed_by(new.key.verifier)) == (True, False)
    assert (second.signed_by(old), second.signed_by(new.key.verifier)) == (False, True)
    assert_the_same_notes_everywhere(house, log)


def test_a_rotation_alone_publishes_no_second_note_over_the_same_tree(house, log, tmp_path):
    house.checkpoint(tmp_path)
    before = (stored(house), signer(tmp_path).last())

    checkpoint(house.app, rotate(house, tmp_path), [log])

    assert (stored(house), signer(tmp_path).last()) == before
    assert_the_same_notes_everywhere(house, log)


def test_a_key_that_nobody_endorsed_signs_nothing(house, log, tmp_path):
    house.checkpoint(tmp_path)
    grow(house)
    before = (stored(house), log.path.read_bytes(), signer(tmp_path).last())
    stranger = Signer(SigningKey.generate("forge.test"), signer(tmp_path).memory)

    with pytest.raises(Refused, match="KEY_NOT_ENDORSED"):
        checkpoint(house.app, stranger, [log])

    assert (stored(house), log.path.read_bytes(), signer(tmp_path).last()) == before


@pytest.mark.parametrize(
    ("name", "known", "code"),
    [("forge.test", False, "KEY_NOT_CURRENT"), ("other.test", True, "KEY_NAME")],
)
def test_a_rotation_is_refused(house, tmp_path, name, known, code):
    house.checkpoint(tmp_path)
    old = signer(tmp_path).key if known else SigningKey.generate("forge.test")
    new = SigningKey.generate(name).verifier

    with transaction(house.app) as session, pytest.raises(Refused, match=code):
        keys.rotate(session, old, new, keys.LOG, actor="cora")


# Other places


class Elsewhere:
    """A place of its own kind, which may be out of reach."""

    where = "elsewhere"

    def __init__(self) -> None:
        self.kept: list[str] = []
        self.failures = 0

    def append(self, note: str) -> None:
        if self.failures:
            self.failures -= 1
            raise ConnectionError("elsewhere is out of reach")
        self.kept.append(note)

    def notes(self) -> Iterator[str]:
        yield from self.kept

    def newest(self) -> str | None:
        return self.kept[-1] if self.kept else None


def test_every_place_gets_every_note(house, log, tmp_path):
    elsewhere = Elsewhere()
    for _ in range(3):
        grow(house)
        checkpoint(house.app, signer(tmp_path), [log, elsewhere])

    assert len(elsewhere.kept) == 3
    assert elsewhere.kept == stored(house)
    assert house.verify(log, elsewhere) == []


def test_a_place_out_of_reach_gets_the_note_in_the_next_run(house, log, tmp_path):
    """And nothing is stored that it does not have."""
    elsewhere = Elsewhere()
    elsewhere.failures = 1
    grow(house)
    with pytest.raises(ConnectionError):
        checkpoint(house.app, signer(tmp_path), [log, elsewhere])
    assert stored(house) == []

    grow(house)
    checkpoint(house.app, signer(tmp_path), [log, elsewhere])

    assert len(stored(house)) == 2
    assert elsewhere.kept == stored(house)
    assert_the_same_notes_everywhere(house, log)


def test_a_signer_without_memory_takes_up_where_the_largest_checkpoint_ends(house, tmp_path):
    """INV-45: with its memory it must not lose what it would not sign."""
    house.checkpoint(tmp_path)
    memory = signer(tmp_path).memory
    size = house.one("SELECT max(size) FROM ledger_checkpoints")
    memory.unlink()
    with house.superuser() as connection, connection.cursor() as cursor:
        for table in ("ledger_order", "ledger_checkpoints"):
            cursor.execute(f"ALTER TABLE {table} DISABLE TRIGGER ALL")
        cursor.execute("DELETE FROM ledger_checkpoints")
        cursor.execute("DELETE FROM ledger_order WHERE position = %s", (size - 1,))

    with pytest.raises(Inconsistent, match="entries are missing"):
        checkpoint(house.app, signer(tmp_path), [CheckpointFile(tmp_path / "checkpoints")])


def test_a_key_that_was_replaced_signs_no_more(house, tmp_path):
    house.checkpoint(tmp_path)
    old = signer(tmp_path)
    new = SigningKey.generate(old.key.name)
    with transaction(house.app) as session:
        keys.rotate(session, old.key, new.verifier, keys.LOG, actor="cora")

    with pytest.raises(Refused) as caught:
        checkpoint(house.app, old, [])
    assert caught.value.code == "KEY_RETIRED"
