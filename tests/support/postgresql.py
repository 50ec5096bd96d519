"""A PostgreSQL server for tests: on loopback, in a temporary folder; tests may kill and restart it."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

PASSWORD = "pl-4nted-s3cret"


def binaries() -> Path | None:
    """Returns the folder of PostgreSQL's programs; `None` where it is not installed."""
    found = shutil.which("initdb")
    places = [Path(found).resolve().parent] if found else sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    return places[-1] if places else None


class Server:
    """A server with one user, `sweeper`, and one database, `studies`.

    PostgreSQL refuses to run as root, so a root process runs it as the user `postgres` or `nobody`.
    """

    def __init__(self) -> None:
        found = binaries()
        assert found is not None, "PostgreSQL is not installed"
        self._binaries = found
        self.folder = Path(tempfile.mkdtemp(prefix="pg-"))
        self._user = _unprivileged()
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = int(free.getsockname()[1])
        (self.folder / "password").write_text(PASSWORD)
        if self._user is not None:
            for path in (self.folder, self.folder / "password"):
                os.chown(path, self._user, -1)
        options = ["--auth", "scram-sha-256", "--username", "sweeper", "--pwfile", str(self.folder / "password")]
        self._run("initdb", "--pgdata", str(self.folder / "data"), "--no-sync", *options)
        self.start()
        with self.connect("postgres") as connection:
            connection.execute("create database studies")

    @property
    def url(self) -> str:
        """The URL for `--storage`."""
        return f"postgresql://sweeper:{PASSWORD}@127.0.0.1:{self.port}/studies"

    def connect(self, database: str = "studies"):  # type: ignore[no-untyped-def]
        """Connects with autocommit."""
        import psycopg

        return psycopg.connect(self.url.replace("/studies", f"/{database}"), autocommit=True)

    def start(self) -> None:
        """Starts the server and waits until it answers."""
        options = ["-D", str(self.folder / "data"), "-p", str(self.port), "-k", str(self.folder), "-h", "127.0.0.1"]
        log = (self.folder / "log").open("ab")
        words = [str(self._binaries / "postgres"), *options, "-F"]
        self._process = subprocess.Popen(words, stdout=log, stderr=log, user=self._user, start_new_session=True)
        log.close()
        deadline = time.monotonic() + 180
        while True:
            try:
                self.connect("postgres").close()
                return
            except Exception:
                assert time.monotonic() < deadline, (self.folder / "log").read_text()
                time.sleep(0.1)

    def kill(self) -> None:
        """Kills the server and its children, as a power cut does."""
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        (self.folder / "data" / "postmaster.pid").unlink(missing_ok=True)

    def close(self) -> None:
        """Kills the server and deletes its files."""
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _run(self, program: str, *words: str) -> None:
        done = subprocess.run([str(self._binaries / program), *words], user=self._user, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr


def _unprivileged() -> int | None:
    if os.geteuid() != 0:
        return None
    names = {entry.pw_name: entry.pw_uid for entry in pwd.getpwall()}
    return names.get("postgres", names["nobody"])
