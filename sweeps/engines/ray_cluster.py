"""A Ray cluster of this machine alone, which listens on loopback alone and is gone when its launcher is.

It belongs to a process of its own, its keeper: killed with the process that started it, Ray leaves agents that talk
to the dead cluster for a minute, and its folder.
"""

from __future__ import annotations

import logging
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from sweeps.processes.parent_watch import kill_own_group, wait_for_parent_exit

ENVIRONMENT = {
    # What makes a cluster listen on loopback alone: an address that is asked for is replaced by the network's. Ray
    # reads it when it is imported; the launcher, too, finds the cluster at that address only with it.
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    "RAY_AUTH_MODE": "token",
    "RAY_USAGE_STATS_ENABLED": "0",
}
_TOKEN_PATH = "RAY_AUTH_TOKEN_PATH"
QUIET: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.CRITICAL}
_STOP_WITHIN_S = 10.0


class LocalCluster:
    """A cluster, started and ready; its keeper ends it when `close` is called or this process dies.

    Args:
        cores: CPU cores that it may give away.
        gpus: GPUs that it may give away.

    Attributes:
        address: Where it is reached.
        folder: Where Ray keeps its logs and sockets, until the end.

    Raises:
        ConnectionError: It did not start; with what Ray says.
    """

    def __init__(self, cores: int, gpus: int) -> None:
        # Directly in /tmp, as the paths of Ray's sockets must stay short; for us alone, as Ray's own folder is not.
        self.folder = Path(tempfile.mkdtemp(prefix="sweeps-", dir="/tmp"))
        token = self.folder / "auth_token"
        token.write_text(secrets.token_hex(32))
        os.environ[_TOKEN_PATH] = str(token)  # of the cluster and of those that talk to it: actors, and this process
        with (self.folder / "keeper.log").open("wb") as log:
            self._keeper = subprocess.Popen(
                [sys.executable, "-m", "sweeps.engines.ray_cluster", str(self.folder), str(cores), str(gpus)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env={**os.environ, **ENVIRONMENT},
                start_new_session=True,
                text=True,
            )
        assert self._keeper.stdout is not None
        self.address = self._keeper.stdout.readline().strip()
        if not self.address:
            lines = (self.folder / "keeper.log").read_text().strip().splitlines()
            self.close()
            raise ConnectionError(lines[-1] if lines else "it did not start")

    def close(self) -> None:
        """Ends the cluster, with every process and file of it."""
        assert self._keeper.stdin is not None
        self._keeper.stdin.close()
        try:
            self._keeper.wait(_STOP_WITHIN_S)
        except subprocess.TimeoutExpired:
            os.killpg(self._keeper.pid, signal.SIGKILL)
            self._keeper.wait()
        shutil.rmtree(self.folder, ignore_errors=True)
        os.environ.pop(_TOKEN_PATH, None)


def keep(folder: str, cores: int, gpus: int) -> None:
    """Runs a cluster until standard input ends."""
    import ray

    ray.init(
        address="local",
        num_cpus=cores,
        num_gpus=gpus,
        include_dashboard=False,
        object_store_memory=100 * 2**20,  # nothing of ours goes there; the default is a third of the machine's memory
        _temp_dir=f"{folder}/ray",  # which Ray opens to everybody; the one around it stays ours
        **QUIET,
    )
    print(ray.get_runtime_context().gcs_address, flush=True)
    wait_for_parent_exit()
    ray.shutdown()
    shutil.rmtree(folder, ignore_errors=True)
    kill_own_group()  # Ray's agents are in the group of the process that started it, and may linger


if __name__ == "__main__":
    keep(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
