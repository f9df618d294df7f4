"""`forge ledger`: verify, prove, rebuild and export what has happened."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from sqlalchemy import Engine, Table

import forge_verify
from forge_core.database import make_engine, migrate, snapshot
from forge_core.errors import Refused
from forge_core.ledger.checkpoints import newest_checkpoint
from forge_core.ledger.discrepancy import Discrepancy
from forge_core.ledger.exporting import export_bundle, export_ledger
from forge_core.ledger.keys import known_keys
from forge_core.ledger.notes import Note, NoteInvalid, VerifierKey
from forge_core.ledger.rebuilding import Rebuilt, rebuild_beside, rebuild_into
from forge_core.ledger.receipts import Receipt, prove, receipt_of_command
from forge_core.ledger.statements import Checkpoint
from forge_core.ledger.tree import sealed_size
from forge_core.ledger.verifying import Erased, Progress, Scope, verify
from forge_core.settings import Settings
from forge_core.wiring import ENTRY_KINDS
from forge_workers.cli.ledger_keys import keys
from forge_workers.cli.output import (
    AsJson,
    print_json,
    standard_error,
    standard_output,
)
from forge_workers.cli.servers import ActingMember, carry, database
from forge_workers.ledger_tasks import checkpoint_sinks

app = typer.Typer(no_args_is_help=True, help="The ledger: verify, prove, rebuild, export.")
app.add_typer(keys, name="keys")

Keys = Annotated[
    list[str] | None,
    typer.Option("--key", metavar="VKEY", help="A key you know to be the log's; may be repeated."),
]
Kept = Annotated[
    list[Path] | None,
    typer.Option("--checkpoint", metavar="FILE", help="A checkpoint kept elsewhere; repeatable."),
]
Out = Annotated[Path | None, typer.Option("--out", metavar="FILE", help="Default: stdout.")]


@app.command("verify")
def verify_(*, key: Keys = None, checkpoint: Kept = None, as_json: AsJson = False) -> None:
    """Check everything: hashes, order, tree, checkpoints, texts, and every derived row.

    Exit status 0: all as it has to be (erased texts are listed); 1: it is not, and each
    discrepancy is listed.
    """
    scope = _scope(key, checkpoint)
    with _engine() as engine, _progress() as progress:
        found, size = _verify(engine, scope, progress)
        if any(isinstance(one, Discrepancy) for one in found):
            # While checkpoints are signed, a copy may be a moment ahead of the other.
            again, size = _verify(engine, scope, progress)
            found = [one for one in found if one in again]
    wrong = [one for one in found if isinstance(one, Discrepancy)]
    erased = [one for one in found if isinstance(one, Erased)]
    if as_json:
        print_json({
            "entries": size,
            "checkpoints_outside": len(scope.sinks) + len(scope.kept),
            "erased": [asdict(one) for one in erased],
            "discrepancies": [asdict(one) for one in wrong],
        })  # fmt: skip
    else:
        _show(wrong, erased, size, scope)
    raise typer.Exit(1 if wrong else 0)


@app.command()
def rebuild(
    *,
    into: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="An empty database, as a role that may migrate it; default: temporary tables.",
        ),
    ] = None,
    at: Annotated[
        int | None,
        typer.Option(metavar="POSITION", help="As of so many entries; only with --into."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Make every derived table again from the entries alone, and compare it row by row."""
    if at is not None and into is None:
        raise typer.BadParameter("--at needs --into: the state of then has to go somewhere")
    derived = _derived()
    scope = Scope(ENTRY_KINDS, derived)
    with _engine() as engine, _progress() as progress:
        if into is None:
            done = rebuild_beside(engine, scope, progress)
        else:
            done = _rebuild_into(engine, into, scope, at, progress)
    if as_json:
        print_json({
            "entries": done.entries,
            "tables": len(derived),
            "compared": at is None,
            "discrepancies": [asdict(one) for one in done.found],
        })  # fmt: skip
    else:
        _show_differences(done.found)
        what = f"{done.entries:,} entries folded into {len(derived)} tables"
        equal = "" if at is not None else "; every row is equal"
        standard_output().print(what + (equal if not done.found else ""))
    raise typer.Exit(1 if done.found else 0)


@app.command("prove")
def prove_(
    receipt: Annotated[str, typer.Argument(help="A receipt's file, or ISSUER/COMMAND-ID.")],
    *,
    out: Out = None,
) -> None:
    """Add to a receipt the proof that its entry is in the ledger, under the newest checkpoint."""
    with database() as session:
        given = _receipt(receipt) or receipt_of_command(session, receipt)
        _put(out, [prove(session, given).to_text()])


@app.command()
def checkpoint(*, as_json: AsJson = False) -> None:
    """Print the newest checkpoint: keep it somewhere safe, and later nothing can be unsaid."""
    with database() as session:
        note, size = newest_checkpoint(session), sealed_size(session)
    if note is None:
        raise Refused("NOT_SIGNED", "no checkpoint was signed yet; a worker signs within 10 s")
    if as_json:
        signed = Checkpoint.parse(Note.parse(note).text)
        print_json({
            "origin": signed.origin,
            "size": signed.size,
            "root": signed.root.hex(),
            "sealed": size,
            "note": note,
        })  # fmt: skip
    else:
        print(note, end="")


@app.command()
def export(
    *,
    proposal: Annotated[
        str | None, typer.Option(metavar="ID", help="Only the evidence for one proposal.")
    ] = None,
    out: Out = None,
) -> None:
    """Write the ledger as lines, or the evidence for one proposal, for forge_verify.py."""
    with _engine() as engine, snapshot(engine) as session:
        if proposal is None:
            _put(out, export_ledger(session))
        else:
            bundle = export_bundle(session, proposal, ENTRY_KINDS)
            _put(out, [json.dumps(bundle, indent=1, ensure_ascii=False) + "\n"])


@app.command("import")
def import_(
    file: Annotated[Path, typer.Argument(help="A bundle that `forge ledger export` wrote.")],
    *,
    key: Keys = None,
) -> None:
    """Check a bundle as forge_verify.py does, and show what it proves.

    Without --key the keys of this installation's ledger are taken.
    """
    vkeys = key or _own_keys()
    options = [word for vkey in vkeys for word in ("--key", vkey)]
    raise typer.Exit(forge_verify.main(["bundle", str(file), *options]))


@app.command()
def erase(
    commitment: Annotated[str, typer.Argument(help="The commitment of the text to erase.")],
    reason: Annotated[str, typer.Option(help="Why; it is kept as a text of its own.")],
    acting: ActingMember,
) -> None:
    """Erase a text for good. The ledger keeps its commitment, and says who erased it and why."""
    carry("ledger.erase_text", acting, {"commitment": commitment, "reason": reason})
    standard_output().print(f"erased {commitment}")


# How


def _scope(key: list[str] | None, kept: list[Path] | None) -> Scope:
    """Checkpoints are expected beside a home that signs; elsewhere only what is given."""
    settings = Settings.load()
    try:
        pinned = [VerifierKey.parse(vkey) for vkey in key or ()]
    except NoteInvalid as error:
        raise typer.BadParameter(f"--key: {error}") from error
    notes = [(str(path), _read(path)) for path in kept or ()]
    sinks = checkpoint_sinks(settings) if settings.ledger_key.exists() else []
    return Scope(ENTRY_KINDS, _derived(), sinks, notes, pinned)


def _derived() -> tuple[Table, ...]:
    # The models of all tables take a tenth of a second to load; few commands look at them.
    from forge_core.tables import DERIVED  # noqa: PLC0415

    return DERIVED


def _verify(
    engine: Engine, scope: Scope, progress: Progress
) -> tuple[list[Discrepancy | Erased], int]:
    with snapshot(engine) as session:
        return list(verify(session, scope, progress)), sealed_size(session)


def _rebuild_into(
    engine: Engine, url: str, scope: Scope, at: int | None, progress: Progress
) -> Rebuilt:
    migrate(url)
    target = make_engine(url, pool_size=1)
    try:
        return rebuild_into(engine, target, scope, at=at, progress=progress)
    finally:
        target.dispose()


def _show(wrong: list[Discrepancy], erased: list[Erased], size: int, scope: Scope) -> None:
    console = standard_output()
    for one in erased:
        console.print(f"erased: {one.commitment} by {escape(one.by)} at {one.at}")
    _show_differences(wrong)
    if wrong:
        console.print(f"{len(wrong):,} discrepancies in {size:,} sealed entries")
        return
    console.print(
        f"{size:,} sealed entries: every hash, position, tile, checkpoint, text and derived row "
        "is as it has to be"
    )
    if not scope.sinks and not scope.kept:
        console.print(
            "no checkpoint from outside the database was compared: give one with --checkpoint, "
            "or a rewritten ledger cannot be told from the true one"
        )


def _show_differences(found: Sequence[Discrepancy]) -> None:
    for one in found:
        standard_output().print(f"[red]✗[/] {escape(str(one))}", soft_wrap=True)


def _receipt(given: str) -> Receipt | None:
    path = Path(given)
    return Receipt.parse(_read(path)) if path.is_file() else None


def _own_keys() -> list[str]:
    with database() as session:
        return [key.to_text() for key in known_keys(session, "log")]


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise typer.BadParameter(f"{path} cannot be read: {error}") from error


def _put(out: Path | None, lines: Iterable[str]) -> None:
    if out is None:
        for line in lines:
            print(line, end="")
        return
    with out.open("w", encoding="utf-8") as file:
        file.writelines(lines)
    standard_error().print(f"written to {out}", markup=False)


@contextmanager
def _engine() -> Iterator[Engine]:
    engine = make_engine(Settings.load().database_url, pool_size=2)
    try:
        yield engine
    finally:
        engine.dispose()


@contextmanager
def _progress() -> Iterator[Progress]:
    """What is being done, on stderr, where somebody can see it."""
    console = standard_error()
    with console.status("reading") as status:

        def show(what: str, entries: int) -> None:
            status.update(f"{what}: {entries:,}" if entries else what)

        yield show
