"""`forge ledger keys`: the keys that sign, their successors, and witnesses."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from sqlalchemy.orm import Session

from forge_core.database import make_engine, transaction
from forge_core.errors import Refused
from forge_core.ledger import keys as ledger_keys
from forge_core.ledger.checkpoints import alone
from forge_core.ledger.notes import KeyKind, NoteInvalid, SigningKey, VerifierKey
from forge_core.ledger.witnessing import Request, Witness, keep_cosignature, request
from forge_core.members.electorate import members_now, require_member
from forge_core.members.levels import Role as Power
from forge_core.settings import Settings
from forge_workers import queries
from forge_workers.cli.output import AsJson, print_rows, standard_output
from forge_workers.cli.servers import ActingMember, database
from forge_workers.keyfiles import load_key, make_key_files
from forge_workers.stack.home import write_private

keys = typer.Typer(no_args_is_help=True, help="Keys that sign, their successors, witnesses.")


class Role(StrEnum):
    """What a key is for."""

    LOG = ledger_keys.LOG
    PROMISES = ledger_keys.PROMISES


KeyFile = Annotated[Path, typer.Option("--key-file", help="The witness's own key.")]


@keys.command("list")
def list_(
    *,
    plain: Annotated[
        bool, typer.Option("--plain", help="Only the keys of log and promises, one a line.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """List the keys that this ledger names, oldest first."""
    with database() as session:
        rows = queries.ledger_keys(session)
    if plain:
        for row in rows:
            if row["role"] != ledger_keys.WITNESS:
                print(row["vkey"])
        return
    print_rows(rows, as_json=as_json, empty="no key was announced yet; a worker does it")


@keys.command()
def make(
    origin: Annotated[str, typer.Argument(help="The ledger's name, for example forge.example.")],
) -> None:
    """Make the key files of a new ledger where there are none."""
    settings = Settings.load()
    made = make_key_files(settings, origin=origin)
    for path in made:
        standard_output().print(f"made {path}", markup=False)
    if not made:
        raise Refused("KEY_EXISTS", "both keys are there already; rotate one to replace it")


@keys.command()
def rotate(role: Role, acting: ActingMember) -> None:
    """Replace a key by a new one, which the old one endorses; the old file is kept beside it.

    What was interrupted is completed by the next run.
    """
    settings = Settings.load()
    path = settings.ledger_key if role is Role.LOG else settings.promise_key
    draft = path.with_name(f"{path.name}.next")
    with alone(draft):
        old = load_key(path)
        if not draft.exists():
            write_private(draft, SigningKey.generate(old.name).to_text() + "\n")
        new = load_key(draft)  # perhaps that of a rotation which was interrupted
        with _writing() as session:
            _require_power(session, acting)
            if new.verifier not in ledger_keys.known_keys(session, role.value):
                ledger_keys.rotate(session, old, new.verifier, role.value, actor=acting)
        kept = path.with_name(f"{path.name}.{old.verifier.key_id.hex()}")
        if not kept.exists():
            kept.hardlink_to(path)
        draft.replace(path)
    standard_output().print(
        f"the {role} key is now {new.verifier.to_text()}; who verifies needs the old one too",
        markup=False,
        soft_wrap=True,
    )


@keys.command("make-witness")
def make_witness(name: str, key_file: KeyFile) -> None:
    """Make a witness's key; tell the ledger's operator the public key that is printed."""
    if key_file.exists():
        raise Refused("KEY_EXISTS", f"{key_file} is there already")
    key = SigningKey.generate(name, KeyKind.COSIGNATURE)
    write_private(key_file, key.to_text() + "\n")
    print(key.verifier.to_text())


@keys.command("add-witness")
def add_witness(vkey: str, acting: ActingMember) -> None:
    """Let a witness's cosignatures count, by an entry."""
    with _writing() as session:
        _require_power(session, acting)
        ledger_keys.add_witness(session, _vkey(vkey), actor=acting)
    standard_output().print(f"the witness {_vkey(vkey).name} is known now", markup=False)


@keys.command("ask")
def ask(
    *,
    since: Annotated[int, typer.Option(help="The size that the witness saw last.")] = 0,
) -> None:
    """Print what a witness needs: the newest checkpoint, and the proof that it extends SINCE."""
    with database() as session:
        print(request(session, since).to_text(), end="")


@keys.command()
def cosign(
    file: Annotated[Path, typer.Argument(help="What `forge ledger keys ask` printed.")],
    log: Annotated[str, typer.Option(metavar="VKEY", help="The log's key that you know.")],
    key_file: KeyFile,
) -> None:
    """As a witness: cosign a checkpoint that extends what was seen before; prints the line."""
    witness = Witness.beside(key_file, load_key(key_file))
    given = Request.parse(file.read_text(encoding="utf-8"))
    print(witness.cosign(given, _vkey(log), at=int(time.time())))


@keys.command("keep")
def keep(
    file: Annotated[Path, typer.Argument(help="The cosignature line that the witness printed.")],
) -> None:
    """Keep a witness's cosignature of the newest checkpoint."""
    with _writing() as session:
        size = keep_cosignature(session, file.read_text(encoding="utf-8").strip())
    standard_output().print(f"kept a cosignature of the checkpoint over {size:,} entries")


def _require_power(session: Session, acting: str) -> None:
    member = require_member(members_now(session, [acting]), acting)
    if not {Power.OPERATOR, Power.ADMIN} & member.roles:
        raise Refused("POWER_MISSING", "this takes the role operator or admin")


def _vkey(given: str) -> VerifierKey:
    try:
        return VerifierKey.parse(given)
    except NoteInvalid as error:
        raise typer.BadParameter(str(error)) from error


@contextmanager
def _writing() -> Iterator[Session]:
    engine = make_engine(Settings.load().database_url, pool_size=1)
    try:
        with transaction(engine) as session:
            yield session
    finally:
        engine.dispose()
