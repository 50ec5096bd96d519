"""An attempt on several devices: a group of fresh processes, one a device, started and ended together.

They are given torchrun's environment variables, so that Lightning neither launches a process nor cares how many
machines, backends or devices there are. Lightning's own launcher would start the worker's command line again.
"""

from __future__ import annotations

import json
import math
import os
import select
import signal
import socket
import subprocess
import sys
import time
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import Any

from torch.distributed import TCPStore  # type: ignore[attr-defined]  # documented, but not in its `__all__`

from sweeps.spec.spec import processes_of
from sweeps.worker.attempt import Row, TrialRequest
from sweeps.worker.callbacks import Reporter, TrialInterrupted

_POLL_S = 0.05
_END_WITHIN_S = 20.0  # the other ranks, after the first has ended well


_TOGETHER = ("completed", "pruned", "diverged")  # how all ranks end at once


class RankDied(Exception):
    """A rank died, and with it the attempt: the trial is to run again."""


@dataclass
class Rank:
    """A process of the group, and the line to it."""

    number: int
    process: subprocess.Popen[bytes]
    channel: socket.socket
    is_silent: bool = False
    """Whether it has closed its line."""
    has_told: bool = False
    """Whether it has told how the attempt ended."""
    _heard: bytes = b""

    def __post_init__(self) -> None:
        self.channel.setblocking(False)

    def fileno(self) -> int:
        """For `select`."""
        return self.channel.fileno()

    def read(self) -> list[dict[str, Any]]:
        """Whole messages that have come."""
        while not self.is_silent:
            try:
                more = self.channel.recv(1 << 16)
            except BlockingIOError:
                break
            except ConnectionResetError:
                more = b""
            self.is_silent = not more
            self._heard += more
        *lines, self._heard = self._heard.split(b"\n")
        return [json.loads(line) for line in lines]

    def send(self, message: dict[str, Any]) -> None:
        """Answers; a rank that died meanwhile is seen soon."""
        with suppress(BrokenPipeError, ConnectionResetError):
            self.channel.sendall(json.dumps(message).encode() + b"\n")

    def close(self) -> None:
        """Closes the lines to it."""
        self.channel.close()
        if self.process.stdin is not None:
            with suppress(BrokenPipeError):
                self.process.stdin.close()


def run_group(request: TrialRequest, report: Reporter, stop: Any) -> Row:
    """Runs a trial in as many processes as its config has devices; see `run_attempt`.

    Rank 0 reports through this process, so the ranks know nothing of the study. A rank that dies ends the others at
    once; so does this process, whatever ends it, as each rank watches a pipe from here.

    Raises:
        TrialInterrupted: The worker must stop, or the trial is another's now.
        GroupDied: A rank was killed, or ended without a word.
    """
    size = processes_of(request.config)
    with ExitStack() as stack:
        store = _serve_store()
        ranks: list[Rank] = []
        stack.callback(_kill, ranks)
        for number in range(size):
            ranks.append(_start(request, number, size, store.port, ranks))
        return _follow(ranks, report, stop)


def _serve_store() -> TCPStore:
    """Where the ranks meet: on loopback, on a port that nobody can take in between."""
    server = socket.create_server(("127.0.0.1", 0))
    port = server.getsockname()[1]
    wait = timedelta(seconds=60)
    return TCPStore(
        "127.0.0.1", port, is_master=True, wait_for_workers=False, timeout=wait, master_listen_fd=server.detach()
    )


def _start(request: TrialRequest, number: int, size: int, port: int, others: list[Rank]) -> Rank:
    threads = str(request.config.get("threads") or 1)
    place = {"RANK": number, "LOCAL_RANK": number, "WORLD_SIZE": size, "LOCAL_WORLD_SIZE": size, "GROUP_RANK": 0}
    meeting = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "TORCHELASTIC_USE_AGENT_STORE": True}
    named = {"TORCHELASTIC_RUN_ID": request.run_id, "OMP_NUM_THREADS": threads, "PYTHONUNBUFFERED": 1}
    # On one machine ranks talk over loopback, which alone is listened on; who set another interface knows why.
    interfaces = {"GLOO_SOCKET_IFNAME": "lo", "NCCL_SOCKET_IFNAME": "lo"} if sys.platform == "linux" else {}
    texts = {key: str(value) for key, value in {**place, **meeting, **named}.items()}
    ours, theirs = socket.socketpair()
    with theirs:
        process = subprocess.Popen(
            [sys.executable, "-m", "sweeps.worker.ddp_rank"],
            stdin=subprocess.PIPE,  # its end, by will or by our death, ends the rank
            env={**interfaces, **os.environ, **texts},
            pass_fds=[theirs.fileno()],
            process_group=others[0].process.pid if others else 0,
        )
        told = {"order": asdict(request), "channel": theirs.fileno()}
    assert process.stdin is not None
    with suppress(BrokenPipeError):  # it died; that is seen soon
        process.stdin.write(json.dumps(told).encode() + b"\n")
        process.stdin.flush()
    return Rank(number, process, ours)


def _follow(ranks: list[Rank], report: Reporter, stop: Any) -> Row:
    """Answers the ranks until one has told how the attempt ended, and all are gone where it ended well."""
    deadline = math.inf
    row: Row | None = None
    while True:
        for rank in ranks:
            for message in rank.read():
                rank.has_told = "row" in message
                if not rank.has_told:
                    rank.send({"answer": report(message["epoch"], message["value"])})
                elif row is None and (rank.number == 0 or message["row"]["outcome"] not in _TOGETHER):
                    row = message["row"]  # the first to fail is why the others do
                    deadline = time.monotonic() + (_END_WITHIN_S if row["outcome"] in _TOGETHER else 0.0)
        codes = [rank.process.poll() for rank in ranks]  # after reading: what a rank's death does to others comes later
        if stop.is_set() or (row is not None and row["outcome"] == "interrupted"):
            raise TrialInterrupted
        for rank, code in zip(ranks, codes, strict=True):
            if code is None or rank.has_told:
                continue
            if code < 0 or (row is None and (code > 0 or rank.is_silent)):
                how = signal.Signals(-code).name if code < 0 else f"exit status {code}"
                raise RankDied(f"rank {rank.number} died ({how})")
        if row is not None and (time.monotonic() > deadline or not any(code is None for code in codes)):
            return row
        select.select([rank for rank in ranks if not rank.is_silent], [], [], _POLL_S)


def _kill(ranks: list[Rank]) -> None:
    """Ends all ranks, with whatever they started, and waits until they are gone."""
    if ranks:
        with suppress(ProcessLookupError):
            os.killpg(ranks[0].process.pid, signal.SIGKILL)
    for rank in ranks:
        rank.process.wait()
        rank.close()
