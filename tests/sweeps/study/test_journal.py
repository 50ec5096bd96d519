"""The journal: whole records after kills, torn records and full disks."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import optuna
import pytest

from sweeps.study.journal import CrashSafeJournal
from sweeps.study.storage import JOURNAL, open_storage

APPEND = """
import sys
from sweeps.study.journal import CrashSafeJournal
from pathlib import Path
journal = CrashSafeJournal(Path(sys.argv[1]))
while True:
    journal.append_logs([{"text": "x" * 2000}] * 20)
"""


def test_a_study_is_kept_and_read_by_optuna_itself(tmp_path: Path) -> None:
    study = optuna.create_study(storage=open_storage(tmp_path, None), study_name="s")
    study.tell(study.ask(), 1.0)
    plain = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(tmp_path / JOURNAL)))
    assert [trial.value for trial in optuna.load_study(study_name="s", storage=plain).trials] == [1.0]


def test_a_torn_last_record_is_cut_off_at_every_byte(tmp_path: Path) -> None:
    path = tmp_path / JOURNAL
    journal = CrashSafeJournal(path)
    journal.append_logs([{"n": 1}])
    whole = path.read_bytes()
    last = b'{"n":2,"text":"abc"}\n'
    for cut in range(len(last)):
        path.write_bytes(whole + last[:cut])
        CrashSafeJournal(path).append_logs([{"n": 3}])
        assert list(CrashSafeJournal(path).read_logs(0)) == [{"n": 1}, {"n": 3}]


def test_an_append_that_fails_takes_itself_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = CrashSafeJournal(tmp_path / JOURNAL)
    journal.append_logs([{"n": 1}])

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space left"):
            journal.append_logs([{"n": 2}])
    journal.append_logs([{"n": 3}])
    assert list(CrashSafeJournal(tmp_path / JOURNAL).read_logs(0)) == [{"n": 1}, {"n": 3}]


def test_a_process_killed_while_it_appends_neither_blocks_nor_spoils_the_journal(tmp_path: Path) -> None:
    path = tmp_path / JOURNAL
    for _ in range(3):
        process = subprocess.Popen([sys.executable, "-c", APPEND, str(path)])
        while not path.exists() or path.stat().st_size < 200_000:
            assert process.poll() is None
        process.send_signal(signal.SIGKILL)
        process.wait()
        CrashSafeJournal(path).append_logs([{"after": "kill"}])
        assert list(CrashSafeJournal(path).read_logs(0))[-1] == {"after": "kill"}
        path.unlink()
