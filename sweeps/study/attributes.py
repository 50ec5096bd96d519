"""Metadata of a study, kept as Optuna user attributes: spec, total, W&B mode, and evaluations on the test set."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from uuid import uuid4

import yaml

from lit_dl.tracking import Mode
from sweeps.spec.spec import SweepSpec, check_continues
from sweeps.study.handle import StudyHandle
from sweeps.study.liveness import identity, is_alive, is_here
from sweeps.study.records import Evaluation, now
from sweeps.study.retry import retry_on_outage

_EVALUATION_LEASE_S = 600.0
"""Seconds that an owner on another machine has to evaluate a trial; later it counts as dead."""


class StudyAttributes:
    """Metadata that the launcher and the workers of a study share.

    Args:
        handle: The open study.
    """

    def __init__(self, handle: StudyHandle) -> None:
        self._handle = handle

    def _read(self) -> dict[str, Any]:
        return self._handle.study.user_attrs

    def _write(self, key: str, value: Any) -> None:
        self._handle.study.set_user_attr(key, value)

    def publish(self, spec: SweepSpec, total: int) -> None:
        """Stores what the sweep is, for workers with and without a run folder. The caller holds the study lock.

        Raises:
            ConfigError: The study belongs to another sweep.
        """
        from sweeps.spec.parse_spec import parse_spec

        text, before = spec.dump(), self._read()
        if before.get("spec", text) != text:
            check_continues(parse_spec(yaml.safe_load(before["spec"]), Path(), spec.name), spec)
        attrs = {"uid": before.get("uid") or uuid4().hex, "spec": text, "launched": now(), "total": total}
        for key, value in attrs.items():
            self._write(key, value)

    @property
    def uid(self) -> str:
        """Identifies the study, also against an earlier one in the same folder."""
        return str(self._read()["uid"])

    @property
    @retry_on_outage
    def total(self) -> int:
        """Number of trials in total, as the last launch set it."""
        return int(self._read()["total"])

    @property
    @retry_on_outage
    def wandb(self) -> Mode:
        """W&B mode of the trials, as the last launch set it."""
        mode: Mode = self._read().get("wandb", "offline")
        return mode

    @wandb.setter
    def wandb(self, mode: Mode) -> None:
        self._write("wandb", mode)

    # The attribute `test:<trial number>` holds {"owner", "until"} while a process evaluates the trial on the test set,
    # and the metrics afterwards. `untested:<trial number>` holds why there are none.

    @retry_on_outage
    def claim_evaluation(self, number: int) -> bool:
        """Claims the evaluation of a trial on the test set; true for one living process only."""
        with self._handle.lock():
            found = self._read().get(f"test:{number}")
            if found is not None and not _is_claim(found):
                return False
            if found is not None and self._is_owner_alive(found):
                return bool(found["owner"] == identity())  # true when an outage cut an earlier call of ours short
            coordinator = self._handle.coordinator
            until = coordinator.now() + _EVALUATION_LEASE_S if coordinator else None
            self._write(f"test:{number}", {"owner": identity(), "until": until})
            return True

    def _is_owner_alive(self, claim: dict[str, Any]) -> bool:
        coordinator = self._handle.coordinator
        if is_here(claim["owner"]) or coordinator is None:
            return is_alive(claim["owner"], elsewhere=False)
        return bool(claim["until"] > coordinator.now())

    @retry_on_outage
    def is_evaluating(self) -> bool:
        """Returns whether a living process evaluates a trial."""
        return any(_is_claim(value) and self._is_owner_alive(value) for value in self._evaluations().values())

    @retry_on_outage
    def set_evaluation(self, number: int, evaluation: Evaluation) -> None:
        """Stores what a trial's evaluation on the test set gave, and so ends it."""
        self._write(f"untested:{number}", evaluation.untested)
        self._write(f"test:{number}", evaluation.metrics)

    @retry_on_outage
    def evaluations(self) -> dict[int, Evaluation]:
        """Returns the evaluations on the test set that have ended, by trial number."""
        why = self._read()
        ended = {number: value for number, value in self._evaluations().items() if not _is_claim(value)}
        return {number: Evaluation(metrics, why.get(f"untested:{number}")) for number, metrics in ended.items()}

    def _evaluations(self) -> dict[int, dict[str, Any]]:
        attrs = self._read()
        return {int(key.removeprefix("test:")): value for key, value in attrs.items() if key.startswith("test:")}


def _is_claim(value: dict[str, Any]) -> bool:
    return isinstance(value.get("owner"), dict)  # a metric may have any name
