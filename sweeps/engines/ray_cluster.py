"""A private Ray cluster: on this machine only, on the loopback interface only, and ended with its launcher.

A separate process, the keeper, starts and ends the cluster. When the process that called `ray.init` is killed, Ray's
agents live on for a minute and its folder stays; the keeper removes both.
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
    # Makes a cluster listen on loopback only: otherwise Ray replaces a requested loopback address by that of the
    # network. Ray reads it at import, in the keeper and in the launcher, which must look for the same address.
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    "RAY_AUTH_MODE": "token",
    "RAY_USAGE_STATS_ENABLED": "0",
}
_TOKEN_PATH = "RAY_AUTH_TOKEN_PATH"
QUIET: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.CRITICAL}
_STOP_WITHIN_S = 10.0


class LocalCluster:
    """Starts a cluster. Its keeper ends it when `close` is called or when this process dies.

    Args:
        cores: Number of CPU cores of the cluster.
        gpus: Number of GPUs of the cluster.

    Attributes:
        address: Address for `ray.init`.
        folder: Logs and sockets of Ray; removed at the end.

    Raises:
        ConnectionError: The cluster did not start; the message is Ray's.
    """

    def __init__(self, cores: int, gpus: int) -> None:
        # Directly in /tmp, because the paths of Ray's sockets must be short. Only this user can read it.
        self.folder = Path(tempfile.mkdtemp(prefix="sweeps-", dir="/tmp"))
        token = self.folder / "auth_token"
        token.write_text(secrets.token_hex(32))
        os.environ[_TOKEN_PATH] = str(token)  # read by the cluster, its actors and this process
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
        """Ends the cluster, kills all its processes and removes its files."""
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
        object_store_memory=100 * 2**20,  # unused here; the default is a third of the machine's memory
        _temp_dir=f"{folder}/ray",  # Ray makes it readable to everybody; its parent is not
        **QUIET,
    )
    print(ray.get_runtime_context().gcs_address, flush=True)
    wait_for_parent_exit()
    ray.shutdown()
    shutil.rmtree(folder, ignore_errors=True)
    kill_own_group()  # some of Ray's agents may still run; they are in this process group


if __name__ == "__main__":
    keep(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
