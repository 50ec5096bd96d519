"""What those who work on a study tell each other beside its trials: attributes of the study."""

from __future__ import annotations

from abc import abstractmethod
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any
from uuid import uuid4

import optuna
import yaml

from lit_dl.tracking import Mode
from sweeps.spec.spec import SweepSpec, check_continues
from sweeps.study.liveness import identity, is_alive, is_here
from sweeps.study.postgresql import Database
from sweeps.study.records import now
from sweeps.study.retry import OutageRetry, retry_on_outage

_EVALUATED_WITHIN_S = 600.0  # by an owner on another machine; later it is taken for dead


class StudyAttributes:
    """The launcher's word on the sweep, and who evaluates which trial on the test set."""

    patience: OutageRetry
    database: Database | None
    _study: optuna.Study

    @abstractmethod
    def _lock(self) -> AbstractContextManager[None]: ...

    def _announce(self, spec: SweepSpec, total: int) -> None:
        """Says, under the lock, what the sweep is: to workers that are there and to those that have no run folder.

        Raises:
            ConfigError: The study is another sweep's.
        """
        from sweeps.spec.parse_spec import parse_spec

        said = self._study.user_attrs
        if said.get("spec", spec.dump()) != spec.dump():
            check_continues(parse_spec(yaml.safe_load(said["spec"]), Path(), spec.name), spec)
        news = {"uid": said.get("uid") or uuid4().hex, "spec": spec.dump(), "launched": now(), "total": total}
        for key, value in news.items():
            self._study.set_user_attr(key, value)

    @property
    def uid(self) -> str:
        """Tells this study from every other, also from an earlier one in the same folder."""
        return str(self._study.user_attrs["uid"])

    @property
    @retry_on_outage
    def total(self) -> int:
        """Trials in total, as the last launch said."""
        return int(self._study.user_attrs["total"])

    @property
    @retry_on_outage
    def wandb(self) -> Mode:
        """How trials are tracked, as the last launch said."""
        mode: Mode = self._study.user_attrs.get("wandb", "offline")
        return mode

    @wandb.setter
    def wandb(self, mode: Mode) -> None:
        self._study.set_user_attr("wandb", mode)

    @retry_on_outage
    def take_evaluation(self, number: int) -> bool:
        """Whether this process is the one to evaluate a trial on the test set; true for one living process only."""
        with self._lock():
            key = f"test:{number}"
            taken = self._study.user_attrs.get(key)
            if taken is not None and ("owner" not in taken or self._lives(taken)):
                return taken is not None and taken.get("owner") == identity()
            until = self.database.now() + _EVALUATED_WITHIN_S if self.database else None
            self._study.set_user_attr(key, {"owner": identity(), "until": until})
            return True

    def _lives(self, taken: dict[str, Any]) -> bool:
        if is_here(taken["owner"]) or self.database is None:
            return is_alive(taken["owner"], elsewhere=False)
        return bool(taken["until"] > self.database.now())

    @retry_on_outage
    def is_evaluating(self) -> bool:
        """Whether somebody evaluates a trial."""
        taken = [value for key, value in self._study.user_attrs.items() if key.startswith("test:")]
        return any("owner" in value and self._lives(value) for value in taken)

    @retry_on_outage
    def set_evaluation(self, number: int, metrics: dict[str, float]) -> None:
        """Keeps a trial's metrics on the test set."""
        self._study.set_user_attr(f"test:{number}", metrics)

    @retry_on_outage
    def evaluations(self) -> dict[int, dict[str, float]]:
        """Metrics on the test set, by trial."""
        found = {key: value for key, value in self._study.user_attrs.items() if key.startswith("test:")}
        return {int(key.removeprefix("test:")): value for key, value in found.items() if "owner" not in value}
