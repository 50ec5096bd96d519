"""An attempt on several devices: one process (a DDP rank) per device, all started and ended together.

The ranks get the environment variables of torchrun, so Lightning starts no process itself and does not need to know
the backend. Lightning's own launcher would run the command line of the worker again.
"""

from __future__ import annotations

import math
import os
import signal
import socket
import sys
import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from datetime import timedelta
from multiprocessing.connection import wait
from typing import Any

from torch.distributed import TCPStore  # type: ignore[attr-defined]  # documented, but not in its `__all__`

from sweeps.processes.fork_server import ForkedProcess, fork_server
from sweeps.spec.spec import processes_of
from sweeps.worker.attempt import Row, TrialRequest
from sweeps.worker.callbacks import Reporter, TrialInterrupted

_POLL_S = 0.05
_END_WITHIN_S = 20.0  # for the other ranks, after the first has ended well
_ENDS_ON_ALL_RANKS = ("completed", "pruned", "diverged")  # outcomes that all ranks reach at the same time


class RankDied(Exception):
    """A rank died and ended the attempt; the trial is requeued."""


@dataclass
class Rank:
    """A process of the group.

    Args:
        number: The rank, from 0.
        process: The process.
    """

    number: int
    process: ForkedProcess
    is_closed: bool = False
    """Whether the rank has closed its channel."""
    has_ended: bool = False
    """Whether the rank has sent its result row."""

    def read(self) -> list[dict[str, Any]]:
        """Returns the messages that have arrived."""
        messages = []
        try:
            while not self.is_closed and self.process.channel.poll():
                messages.append(self.process.channel.recv())
        except (EOFError, OSError):
            self.is_closed = True
        return messages

    def answer(self, message: str | None) -> None:
        """Sends the answer to a report; `_follow` notices soon when the rank has died."""
        with suppress(ConnectionError):
            self.process.channel.send(message)


def run_group(request: TrialRequest, report: Reporter, stop: Any) -> Row:
    """Runs a trial in as many processes as its config has devices; see `run_attempt`.

    Rank 0 reports through this process, so the ranks do not open the study. When a rank dies, the others are killed at
    once. When this process dies, each rank kills itself; see `parent_watch`.

    Raises:
        TrialInterrupted: The worker must stop, or another worker has the trial now.
        RankDied: A rank was killed, or ended without a result row.
    """
    size = processes_of(request.config)
    with ExitStack() as stack:
        store = _serve_store()
        ranks: list[Rank] = []
        for number in range(size):
            ranks.append(_start(request, number, size, store.port))
            stack.callback(ranks[number].process.close)
        return _follow(ranks, report, stop)


def _serve_store() -> TCPStore:
    """Starts the store where the ranks find each other, on a loopback port that is bound before anybody knows it."""
    server = socket.create_server(("127.0.0.1", 0))
    port = server.getsockname()[1]
    timeout = timedelta(seconds=60)
    return TCPStore(
        "127.0.0.1", port, is_master=True, wait_for_workers=False, timeout=timeout, master_listen_fd=server.detach()
    )


def _start(request: TrialRequest, number: int, size: int, port: int) -> Rank:
    process = fork_server().fork(
        "sweeps.worker.ddp_rank:main",
        request,
        name=f"rank-{number}",
        environment=_environment(request, number, size, port),
    )
    return Rank(number, process)


def _environment(request: TrialRequest, number: int, size: int, port: int) -> dict[str, str]:
    """Returns the environment variables that torchrun sets."""
    rank = {"RANK": number, "LOCAL_RANK": number, "WORLD_SIZE": size, "LOCAL_WORLD_SIZE": size, "GROUP_RANK": 0}
    store = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "TORCHELASTIC_USE_AGENT_STORE": True}
    others = {"TORCHELASTIC_RUN_ID": request.run_id, "OMP_NUM_THREADS": request.config.get("threads") or 1}
    # All ranks are on this machine and so talk over loopback, unless the user chose another interface.
    names = ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME") if sys.platform == "linux" else ()
    interfaces = {name: os.environ.get(name, "lo") for name in names}
    return {key: str(value) for key, value in {**rank, **store, **others, **interfaces}.items()}


def _follow(ranks: list[Rank], report: Reporter, stop: Any) -> Row:
    """Answers the reports of the ranks until one sends the result row and, where it ended well, all have exited."""
    deadline = math.inf
    row: Row | None = None
    while True:
        for rank in ranks:
            for message in rank.read():
                rank.has_ended = "row" in message
                if not rank.has_ended:
                    rank.answer(report(message["epoch"], message["value"]))
                elif row is None and (rank.number == 0 or message["row"]["outcome"] not in _ENDS_ON_ALL_RANKS):
                    row = message["row"]  # of the first rank that fails: its error causes those of the others
                    deadline = time.monotonic() + (_END_WITHIN_S if row["outcome"] in _ENDS_ON_ALL_RANKS else 0.0)
        # Poll after reading: the message of a rank that failed must win over the errors that its end causes in others.
        codes = [rank.process.poll() for rank in ranks]
        if stop.is_set() or (row is not None and row["outcome"] == "interrupted"):
            raise TrialInterrupted
        _check_alive(ranks, codes, row)
        if row is not None and (time.monotonic() > deadline or None not in codes):
            return row
        wait([rank.process.channel for rank in ranks if not rank.is_closed], _POLL_S)


def _check_alive(ranks: list[Rank], codes: list[int | None], row: Row | None) -> None:
    """Raises `RankDied` for a rank that was killed, or that ended without a result row while none has arrived."""
    for rank, code in zip(ranks, codes, strict=True):
        if code is None or rank.has_ended:
            continue
        if code < 0 or (row is None and (code > 0 or rank.is_closed)):
            how = signal.Signals(-code).name if code < 0 else f"exit status {code}"
            raise RankDied(f"rank {rank.number} died ({how})")
