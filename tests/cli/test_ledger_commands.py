"""`forge ledger` on a house where things have happened: what it prints, proves and refuses."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

import forge_verify
from forge_core.database import transaction
from forge_core.ledger.checkpoints import CheckpointFile
from forge_core.ledger.keys import LOG, rotate
from forge_core.ledger.notes import SigningKey
from forge_core.settings import Settings
from forge_workers.client import Ballot, GovernanceClient
from forge_workers.keyfiles import load_key, make_key_files
from forge_workers.ledger_tasks import make_checkpoint
from forge_workers.stack.roles import create_database, drop_database
from tests.cli.conftest import Forge, working
from tests.conftest import TestServers, _servers
from tests.core.conftest import lived_template
from tests.core.factories import FULL_FOUNDERS, House, found_house


@pytest.fixture
def signing(house: House, named: Settings) -> House:
    """A founded house with keys, whose checkpoints are made by the worker's own task."""
    make_key_files(named, origin="forge.test")
    found_house(house, FULL_FOUNDERS)
    return house


@pytest.fixture(scope="module")
def life(
    pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, Path]]:
    """A database in which everything has happened, is sealed and signed, and its home: to copy."""
    postgres, home = _servers(pytestconfig).postgres, tmp_path_factory.mktemp("life")
    name = f"life_{uuid.uuid4().hex}"
    create_database(postgres, name, template=lived_template(_servers(pytestconfig)))
    url = postgres.url("forge_app", name)
    settings = Settings(home, url, postgres.url("forge_migrate", name), url, url, "", "")
    make_key_files(settings, origin="forge.test")
    house = House(postgres, name)
    for _ in range(2):
        house.seal()
        make_checkpoint(house.app, settings)
    house.close()
    yield name, home
    drop_database(postgres, name)


@pytest.fixture
def lived(house: House, named: Settings, life: tuple[str, Path]) -> House:
    """A house of its own in which everything has happened, is sealed and signed."""
    name, home = life
    drop_database(house.server, house.name)
    create_database(house.server, house.name, template=name)
    shutil.copytree(home, named.home, dirs_exist_ok=True)
    house.known_founders(FULL_FOUNDERS)
    return house


@pytest.fixture
def empty(servers: TestServers) -> Iterator[str]:
    """The address of another database, empty, for a role that may migrate it."""
    name = f"rebuilt_{uuid.uuid4().hex}"
    create_database(servers.postgres, name)
    yield servers.postgres.url("forge_migrate", name)
    drop_database(servers.postgres, name)


def sign(house: House) -> None:
    """Seal and sign; the key's own announcement too."""
    for _ in range(2):
        house.seal()
        make_checkpoint(house.app, Settings.load())


def vkey(forge: Forge, role: str = "log") -> str:
    rows = forge("ledger", "keys", "list", "--json").json
    return next(row["vkey"] for row in rows if row["role"] == role)


def stand_alone(folder: Path, *words: object) -> tuple[int, str]:
    """Run the verifier as a stranger would: alone in a folder, and nothing of ours importable."""
    folder.mkdir(exist_ok=True)
    shutil.copy(forge_verify.__file__, folder / "forge_verify.py")
    bar = (
        "import runpy, sys\n"
        "class Bar:\n"
        "    def find_spec(self, name, *_):\n"
        "        if name.startswith('forge_'): raise ImportError(name)\n"
        "sys.meta_path.insert(0, Bar())\n"
        "sys.argv = sys.argv[1:]\n"
        "runpy.run_path(sys.argv[0], run_name='__main__')\n"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-c", bar, "forge_verify.py", *map(str, words)],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""
    return done.returncode, done.stdout


# Verify and rebuild


@pytest.mark.usefixtures("lived")
def test_verify_finds_an_honest_ledger_clean_and_lists_what_was_erased(forge):
    said = forge("ledger", "verify")

    assert said.status == 0, said.out
    assert "is as it has to be" in said.out
    assert said.out.count("erased: ") == 1
    assert forge("ledger", "verify", "--json").json["discrepancies"] == []


def test_verify_lists_every_discrepancy_and_ends_with_1(lived, forge):
    """INV-45."""
    lived.sql("UPDATE members SET level = 'CORE' WHERE id = 'm1'")
    lived.sql("UPDATE tallies SET for_weight = 99 WHERE proposal_id IN"
              " (SELECT proposal_id FROM tallies ORDER BY 1 LIMIT 2)")  # fmt: skip

    said = forge("ledger", "verify", "--json")

    assert said.status == 1
    found = [(one["where"], one["meaning"]) for one in said.json["discrepancies"]]
    assert len(found) == 3
    assert ("members", "m1: level is not what the entries say") in found


@pytest.mark.usefixtures("lived")
def test_verify_without_any_outside_checkpoint_says_what_it_cannot_tell(forge, named):
    named.ledger_key.unlink()

    said = forge("ledger", "verify")

    assert said.status == 0
    assert "no checkpoint from outside the database was compared" in said.out


def test_verify_catches_a_lost_tail_by_a_checkpoint_that_was_saved(lived, forge, tmp_path, named):
    """INV-45: rolled back to an earlier state that is consistent in itself."""
    saved = tmp_path / "saved"
    saved.write_text(forge("ledger", "checkpoint").out)
    key = vkey(forge)
    named.ledger_key.unlink()
    with lived.superuser() as connection, connection.cursor() as cursor:
        for table in ("ledger_entries", "ledger_order", "ledger_tiles", "ledger_checkpoints"):
            cursor.execute(f"ALTER TABLE {table} DISABLE TRIGGER ALL")
        cursor.execute(
            "DELETE FROM ledger_entries WHERE id IN"
            " (SELECT entry_id FROM ledger_order ORDER BY position DESC LIMIT 2)"
        )
        cursor.execute("DELETE FROM ledger_order WHERE entry_id NOT IN"
                       " (SELECT id FROM ledger_entries)")  # fmt: skip
        cursor.execute("DELETE FROM ledger_checkpoints WHERE size > "
                       "(SELECT count(*) FROM ledger_order)")  # fmt: skip

    said = forge("ledger", "verify", "--checkpoint", saved, "--key", key, "--json")

    assert said.status == 1
    assert any("the tail is gone" in one["meaning"] for one in said.json["discrepancies"])


@pytest.mark.usefixtures("lived")
def test_rebuild_makes_equal_tables_beside_the_live_ones_twice(forge):
    """INV-44."""
    for _ in range(2):
        said = forge("ledger", "rebuild")
        assert (said.status, "every row is equal" in said.out) == (0, True), said.out


@pytest.mark.usefixtures("lived")
def test_rebuild_into_an_empty_database_makes_one_that_verifies(forge, empty, monkeypatch):
    """INV-44: as an auditor would, elsewhere."""
    said = forge("ledger", "rebuild", "--into", empty)
    assert said.status == 0, said.out + said.err
    again = forge("ledger", "rebuild", "--into", empty)
    assert (again.status, "TARGET_NOT_EMPTY" in again.err) == (1, True)

    monkeypatch.setenv("FORGE_DATABASE_URL", empty)
    checked = forge("ledger", "verify", "--json")

    # The texts stayed where they were.
    wheres = {one["where"] for one in checked.json["discrepancies"]}
    assert wheres <= {"texts"}


def test_rebuild_at_a_position_shows_what_was_known_then(lived, forge, empty):
    position = lived.one(
        "SELECT position FROM ledger_order JOIN ledger_entries ON id = entry_id"
        " WHERE kind = 'overlay.updated' ORDER BY position LIMIT 1"
    )
    said = forge("ledger", "rebuild", "--into", empty, "--at", position)
    assert said.status == 0, said.out + said.err

    then = House(lived.server, empty.partition("?")[0].rpartition("/")[2])
    try:
        assert set(then.sql("SELECT version FROM overlays")) == {("1.0.0",)}
        assert then.one("SELECT count(*) FROM ledger_order") == position
    finally:
        then.close()


@pytest.mark.usefixtures("lived")
def test_rebuild_refuses_what_makes_no_sense(forge, empty):
    assert forge("ledger", "rebuild", "--at", "3").status == 2
    assert "POSITION_UNKNOWN" in forge("ledger", "rebuild", "--into", empty, "--at", "9999").err


# Receipts


def test_a_ballots_promise_becomes_a_proof_that_a_stranger_can_check(
    signing, forge, named, tmp_path
):
    proposal = signing.open("gus")
    with GovernanceClient(
        issuer="web", settings=named, promise_key=load_key(named.promise_key)
    ) as client:
        ballot = Ballot(proposal, "gus", "for")
        client.vote(ballot)
        receipt = client.receipt(ballot.command_id)
        assert client.receipt(ballot.command_id) == receipt
    file = tmp_path / "receipt"
    file.write_text(receipt.to_text())
    early = forge("ledger", "prove", file)
    assert (early.status, "NOT_IN_LEDGER" in early.err) == (1, True)
    signing.perform("votes.count")
    sign(signing)
    keys = ["--key", vkey(forge), "--key", vkey(forge, "promises")]

    status, said = stand_alone(tmp_path / "elsewhere", "receipt", file, *keys)
    assert status == 1
    assert said.startswith("does not prove inclusion: only a promise")
    proven = tmp_path / "proven"
    assert forge("ledger", "prove", file, "--out", proven).status == 0
    status, said = stand_alone(tmp_path / "elsewhere", "receipt", proven, *keys)

    assert status == 0, said
    assert said.startswith("PROOF")
    assert "gus" in said
    assert proposal in said


def test_a_commands_receipt_is_proved_in_the_same_way(signing, forge, named, tmp_path):
    with GovernanceClient(
        issuer="web", settings=named, promise_key=load_key(named.promise_key)
    ) as client:
        command = client.command("proposals.cancel", "gus", {"proposal_id": "p-none"})
        file = tmp_path / "receipt"
        file.write_text(client.receipt(command).to_text())
    sign(signing)

    assert forge("ledger", "prove", file, "--out", file).status == 0
    keys = ["--key", vkey(forge), "--key", vkey(forge, "promises")]
    status, said = stand_alone(tmp_path / "elsewhere", "receipt", file, *keys)
    assert status == 0, said
    assert str(command) in said


def test_an_unkept_promise_is_told_from_a_proof(signing, forge, named, tmp_path):
    """Evidence against the operator: accepted, promised, and never sealed."""
    proposal = signing.open("gus")
    with GovernanceClient(
        issuer="web", settings=named, promise_key=load_key(named.promise_key)
    ) as client:
        ballot = Ballot(proposal, "gus", "for")
        client.vote(ballot)
        file = tmp_path / "receipt"
        file.write_text(client.receipt(ballot.command_id).to_text())
    signing.sql("DELETE FROM ballot_inbox")
    sign(signing)

    assert "NOT_IN_LEDGER" in forge("ledger", "prove", file).err
    keys = ["--key", vkey(forge), "--key", vkey(forge, "promises")]
    status, said = stand_alone(
        tmp_path / "elsewhere", "receipt", file, *keys, "--now", "2100-01-01T00:00:00.000000Z"
    )
    assert status == 1
    assert "unfulfilled promise" in said
    assert "evidence" in said


@pytest.mark.parametrize(
    "content", ["", "{}", "[]", "null", '{"format": "forge-receipt/1"}', "\x00", "{" * 9_000]
)
@pytest.mark.usefixtures("signing")
def test_what_is_no_receipt_is_refused_by_name(forge, tmp_path, content):
    file = tmp_path / "receipt"
    file.write_text(content)

    said = forge("ledger", "prove", file)

    assert said.status == 1
    assert "RECEIPT_INVALID" in said.err


def test_a_command_id_can_stand_for_a_receipt(lived, forge):
    issuer, id_ = lived.sql(
        "SELECT issuer, command_id FROM jobs WHERE kind = 'members.delegate' LIMIT 1"
    )[0]
    ballot = lived.sql("SELECT issuer, command_id FROM ballots LIMIT 1")[0]

    assert '"position"' in forge("ledger", "prove", f"{issuer}/{id_}").out
    assert '"position"' in forge("ledger", "prove", "/".join(map(str, ballot))).out
    assert "COMMAND_UNKNOWN" in forge("ledger", "prove", "nobody/nothing").err


# Exports


@pytest.mark.usefixtures("lived")
def test_the_exported_ledger_has_the_root_that_was_signed(forge, tmp_path):
    file = tmp_path / "ledger"
    assert forge("ledger", "export", "--out", file).status == 0

    status, said = stand_alone(tmp_path / "elsewhere", "ledger", file, "--key", vkey(forge))

    assert status == 0, said
    lines = file.read_text().splitlines()
    n = next(n for n, line in enumerate(lines) if '"actor":"cora"' in line)
    lines[n] = lines[n].replace('"actor":"cora"', '"actor":"carl"')
    file.write_text("\n".join(lines) + "\n")
    status, said = stand_alone(tmp_path / "elsewhere", "ledger", file, "--key", vkey(forge))
    assert (status, said.startswith("does not prove")) == (1, True)


def test_a_bundle_proves_each_outcome_to_a_stranger_and_to_another_installation(
    lived, forge, tmp_path
):
    proposals = lived.sql("SELECT id, status FROM proposals ORDER BY id")
    assert {status for _, status in proposals} >= {"executed", "rejected", "cancelled", "expired"}
    for proposal, status in proposals:
        file = tmp_path / proposal
        assert forge("ledger", "export", "--proposal", proposal, "--out", file).status == 0
        code, said = stand_alone(tmp_path / "elsewhere", "bundle", file, "--key", vkey(forge))
        assert code == 0, (status, said)
    assert forge("ledger", "export", "--proposal", "p-none").status == 1


def test_a_bundle_with_erased_texts_is_proved_and_says_so(lived, forge, tmp_path):
    """The reason of an erasure can be erased as well."""
    proposal, title = lived.sql("SELECT id, title FROM proposals ORDER BY created_at LIMIT 1")[0]
    file = tmp_path / "bundle"
    for commitment in (title, "SELECT reason FROM erasures WHERE commitment = %s"):
        gone = commitment if commitment == title else lived.one(commitment, title)
        lived.do("ledger.erase_text", "cora", commitment=gone, reason="asked for")
        early = forge("ledger", "export", "--proposal", proposal, "--out", file)
        assert (early.status, "NOT_SIGNED" in early.err) == (1, True)
        sign(lived)

        assert forge("ledger", "export", "--proposal", proposal, "--out", file).status == 0
        status, said = stand_alone(tmp_path / "elsewhere", "bundle", file, "--key", vkey(forge))
        assert (status, "erased" in said) == (0, True), said
    again = lived.sql("SELECT issuer, command_id FROM jobs WHERE payload ? 'erased'")
    assert again


def test_every_change_to_a_real_bundle_is_refused(lived, forge, tmp_path):
    executed = lived.one(
        "SELECT proposal_id FROM ballots JOIN proposals ON id = proposal_id"
        " WHERE status = 'executed' GROUP BY 1 ORDER BY count(*) DESC LIMIT 1"
    )
    file = tmp_path / "bundle"
    forge("ledger", "export", "--proposal", executed, "--out", file)
    whole = json.loads(file.read_text())
    key = vkey(forge)

    def refused(document: object) -> bool:
        file.write_text(json.dumps(document))
        return forge_verify.main(["bundle", str(file), "--key", key]) == 1

    assert not refused(whole)
    changed = 0
    for name in ("entries", "texts"):
        for n in range(len(whole[name])):
            for field, value in whole[name][n].items():
                other = json.loads(json.dumps(whole))
                other[name][n][field] = value + 1 if isinstance(value, int) else value[:-1] or "x"
                assert refused(other), (name, n, field)
                changed += 1
    for name in ("format", "proposal", "checkpoint"):
        assert refused(whole | {name: whole[name][:-1]})
    assert changed > 30


# Keys and erasure


def test_a_rotated_key_signs_what_comes_next_and_the_ledger_stays_clean(lived, forge, named):
    before = vkey(forge)
    assert forge("ledger", "keys", "rotate", "log", "--as", "cora").status == 0
    sign(lived)

    rows = [row for row in forge("ledger", "keys", "list", "--json").json if row["role"] == "log"]
    assert [row["replaces"] for row in rows] == [None, before]
    assert rows[1]["vkey"] == load_key(named.ledger_key).verifier.to_text()
    assert forge("ledger", "verify").status == 0


def test_keys_take_a_role(lived, forge, tmp_path):
    key_file = tmp_path / "witness"
    public = forge("ledger", "keys", "make-witness", "wit.example", "--key-file", key_file).out
    before = lived.one("SELECT count(*) FROM ledger_entries")
    for acting, code in (("gus", "POWER_MISSING"), ("nobody", "MEMBER_UNKNOWN")):
        for words in (("rotate", "log"), ("add-witness", public.strip())):
            said = forge("ledger", "keys", *words, "--as", acting)
            assert (said.status, code in said.err) == (1, True), said.err
    assert lived.one("SELECT count(*) FROM ledger_entries") == before
    assert forge("ledger", "keys", "list", "--plain").out.count("\n") == 2


def test_a_rotation_that_was_interrupted_is_completed_by_the_next(lived, forge, named):
    old = load_key(named.ledger_key)
    new = SigningKey.generate(old.name)
    named.ledger_key.with_name("ledger-key.next").write_text(new.to_text())
    with transaction(lived.app) as session:
        rotate(session, old, new.verifier, LOG, actor="cora")

    assert forge("ledger", "keys", "rotate", "log", "--as", "cora").status == 0

    assert load_key(named.ledger_key).verifier == new.verifier
    sign(lived)
    assert forge("ledger", "verify").status == 0


def test_a_witness_cosigns_what_extends_what_it_saw(lived, forge, tmp_path):
    key_file, asked, line = tmp_path / "witness", tmp_path / "asked", tmp_path / "line"
    public = forge("ledger", "keys", "make-witness", "wit.example", "--key-file", key_file).out
    assert forge("ledger", "keys", "add-witness", public.strip(), "--as", "cora").status == 0
    sign(lived)
    since = 0
    for _ in range(2):
        asked.write_text(forge("ledger", "keys", "ask", "--since", since).out)
        said = forge("ledger", "keys", "cosign", asked, "--log", vkey(forge),
                     "--key-file", key_file)  # fmt: skip
        assert said.status == 0, said.err
        line.write_text(said.out)
        assert forge("ledger", "keys", "keep", line).status == 0
        since = forge("ledger", "checkpoint", "--json").json["size"]
        lived.propose("gus", title="more")
        sign(lived)

    assert lived.one("SELECT count(*) FROM ledger_cosignatures") == 2
    assert forge("ledger", "verify").status == 0


def test_an_erased_text_is_gone_everywhere_and_named_in_the_ledger(lived, forge):
    commitment = lived.one("SELECT title FROM proposals ORDER BY created_at LIMIT 1")
    with working(lived):
        said = forge("ledger", "erase", commitment, "--reason", "asked for", "--as", "cora")
        refused = forge("ledger", "erase", commitment, "--reason", "again", "--as", "cora")
        nobody = forge("ledger", "erase", commitment, "--reason", "no power", "--as", "gus")
    sign(lived)

    assert (said.status, refused.status, nobody.status) == (0, 1, 1)
    assert "TEXT_UNKNOWN" in refused.err
    assert "POWER_MISSING" in nobody.err
    assert lived.one("SELECT count(*) FROM texts WHERE commitment = %s", commitment) == 0
    checked = forge("ledger", "verify", "--json")
    assert checked.status == 0, checked.out
    assert commitment in {one["commitment"] for one in checked.json["erased"]}


def test_a_text_that_vanished_without_an_entry_is_a_discrepancy(lived, forge):
    commitment = lived.one("SELECT title FROM proposals ORDER BY created_at LIMIT 1")
    lived.sql("DELETE FROM texts WHERE commitment = %s", commitment)

    said = forge("ledger", "verify", "--json")

    (found,) = said.json["discrepancies"]
    assert (said.status, found["where"]) == (1, "texts")
    assert commitment in found["meaning"]


def test_checkpoints_go_to_every_place_that_is_named(signing, named, monkeypatch):
    monkeypatch.setenv("FORGE_CHECKPOINT_SINKS", "tests.cli.test_ledger_commands:second_sink")
    sign(signing)

    ours = list(CheckpointFile(named.checkpoint_file).notes())
    assert ours
    assert list(second_sink(named).notes()) == ours


def second_sink(settings: Settings) -> CheckpointFile:
    return CheckpointFile(settings.home / "elsewhere" / "checkpoints")


def test_the_founders_are_the_first_entries_and_no_key_comes_before(house, named):
    make_key_files(named, origin="forge.test")
    make_checkpoint(house.app, named)
    assert house.one("SELECT count(*) FROM ledger_entries") == 0
    found_house(house)
    sign(house)
    kinds = [kind for (kind,) in house.sql("SELECT kind FROM ledger_entries ORDER BY id")]
    assert kinds[0] == "ledger.founded"
    assert kinds.count("ledger.key_announced") == 2
    assert len(house.founders) < len(kinds)
