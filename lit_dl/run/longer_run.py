"""A run that goes on from the last epoch of a shorter run, with the same config but for `trainer.max_epochs`."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import torch

from lit_dl.callbacks.longer_schedules import GOES_ON
from lit_dl.callbacks.resume_state import ResumeState
from lit_dl.config.keys import Config
from lit_dl.files import retry_on_full_disk, write_bytes
from lit_dl.run.resume import NotResumableError, config_hash, load_last


def go_on_from(shorter: Path, run_dir: Path, config: Config) -> None:
    """Makes the folder of a run that resumes after the last epoch of a shorter run. Does nothing in one that has begun.

    What is copied is whole or not there: `last.ckpt` is written last, and whoever is killed before that copies again.
    From there on, the run trains as if it had been of the new length from the start, except that a learning-rate
    schedule which depends on the length is another one in the epochs that the shorter run had trained.

    Args:
        shorter: Folder of the shorter run.
        run_dir: Folder of the longer run.
        config: The complete config of the longer run.

    Raises:
        NotResumableError: The shorter run left no checkpoint, or its config differs in more than its length.
    """
    last = Path("checkpoints", "last.ckpt")
    if (run_dir / last).exists():
        return
    if not (shorter / last).is_file():
        raise NotResumableError(f"{shorter / last} is not there")
    checkpoint = load_last(shorter / last)
    state = checkpoint.get("callbacks", {}).get(ResumeState.STATE_KEY) or {}
    before = {**config, "trainer": {**config["trainer"], "max_epochs": int(checkpoint.get("epoch", 0)) + 1}}
    if state.get("fingerprint") != config_hash(before):
        raise NotResumableError(f"{shorter / last} is of a run with another config")
    state["fingerprint"] = config_hash(config)
    checkpoint[GOES_ON] = True
    retry_on_full_disk(run_dir, lambda: (run_dir / last).parent.mkdir(parents=True, exist_ok=True))
    for name in ("metrics.csv", "diagnostics.csv", "checkpoints/best.ckpt"):
        if (shorter / name).is_file():
            write_bytes(run_dir / name, (shorter / name).read_bytes(), durable=True)
    content = BytesIO()
    torch.save(checkpoint, content)
    write_bytes(run_dir / last, content.getbuffer(), durable=True)
