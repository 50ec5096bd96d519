"""A sweep as Python sees it: `sweeps.load` and `sweeps.launch` return it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lit_dl.errors import LitError
from sweeps.results.files import read_results
from sweeps.results.ranking import RankedConfiguration, none_feasible, ranking, winners
from sweeps.results.status_file import STATUS_JSON, live_status
from sweeps.spec.parse_spec import load_spec
from sweeps.trial_folder import TrialFolder

if TYPE_CHECKING:
    import optuna
    import pandas as pd

    from sweeps.spec.spec import SweepSpec


@dataclass(frozen=True)
class BestConfiguration:
    """A configuration that no other beats.

    Args:
        number: Its best trial.
        value: The first objective, as the mean over the seeds.
        std: Sample standard deviation over the seeds; `None` for a single run.
        params: Values by key of the space.
        metrics: Metrics of its best trial at the best epoch, and those on the test set.
        numbers: All its trials, one a seed.
        run: Its name in `runs` of the spec; `None` for a sampled one.
        config: The run config of the best trial, for `lit-dl fit --config`.
        checkpoint: The checkpoint of the best trial; `None` where it was not kept.
    """

    number: int
    value: float
    std: float | None
    params: dict[str, Any]
    metrics: dict[str, float]
    numbers: list[int]
    run: str | None
    config: Path
    checkpoint: Path | None


class Sweep:
    """A sweep in its run folder. Everything is read anew when it is asked for, so it may run meanwhile.

    Args:
        run_dir: The run folder.
        storage: URL of the database of its study. `None`: `$SWEEPS_STORAGE`, else the journal in the run folder.

    Attributes:
        run_dir: The run folder.
    """

    def __init__(self, run_dir: Path, storage: str | None = None) -> None:
        self.run_dir = run_dir
        self._storage = storage

    def __repr__(self) -> str:
        return f"Sweep({str(self.run_dir)!r})"

    @property
    def spec(self) -> SweepSpec:
        """The spec, with all defaults."""
        return load_spec(self.run_dir / "spec.yaml")

    @property
    def state(self) -> str:
        """`running`, `finished`, or why it has stopped, such as `interrupted`, `timeout` or `killed`."""
        return str(self._status()["state"])

    def _status(self) -> dict[str, Any]:
        is_new = not (self.run_dir / STATUS_JSON).is_file()  # nothing has been published yet
        return {"state": "running", "running": []} if is_new else live_status(self.run_dir)

    @property
    def trials(self) -> pd.DataFrame:
        """The finished and the running trials, one a row, by number.

        Columns: `number`, `state` (of Optuna), `outcome`, `reason`, `value` (the first objective at the best epoch),
        `best_epoch`, `epochs`, `seed`, `elapsed_s`, `config_id` (equal for all repeats over seeds), `run`, `extends`
        (the trial that it goes on from), `attempt`, `slot`, `started`, `finished`; each parameter under its key of the
        space; the metrics of the best and of the last epoch as `best.NAME` and `last.NAME`, with those on the test set
        among the former; seconds by part.
        Integers, texts and booleans have the types of pandas that know missing values.

        Raises:
            LitError: pandas is not installed.
        """
        from sweeps.results.frame import trials_frame

        status = self._status()  # before the results, so that a trial that ends meanwhile is in one of them
        running = status["running"] if status["state"] == "running" else []
        return trials_frame(self.spec, read_results(self.run_dir), running)

    @property
    def best(self) -> BestConfiguration:
        """The best configuration; with several objectives the first on the Pareto front.

        Raises:
            LitError: No trial has completed yet, or none that meets the constraints.
        """
        if not (front := self.front):
            ranked = ranking(read_results(self.run_dir), self.spec.objectives)
            raise LitError(f"{self.run_dir}: {none_feasible(ranked) or 'no trial has completed yet'}")
        return front[0]

    @property
    def front(self) -> list[BestConfiguration]:
        """All configurations that no other beats: with several objectives the Pareto front, else the best alone."""
        ranked = ranking(read_results(self.run_dir), self.spec.objectives)
        return [_best(self.run_dir, entry) for entry in winners(ranked)]

    @property
    def study(self) -> optuna.Study:
        """The Optuna study, with the sampler and the pruner of the spec, to read and to go on with.

        Raises:
            StorageError: The study is in a database whose URL was not given, or that does not answer.
        """
        from sweeps.study.sampling import build_sampler
        from sweeps.study.storage import open_study, require_storage, storage_url

        url = storage_url(self._storage)
        require_storage(self.run_dir, url)
        study = open_study(self.run_dir, self.spec, url, create=False).study
        study.sampler = build_sampler(self.spec, len(study.get_trials(deepcopy=False)))
        return study


def _best(run_dir: Path, entry: RankedConfiguration) -> BestConfiguration:
    trial, folder = entry.best_trial, TrialFolder(run_dir, entry.best_trial.number)
    return BestConfiguration(
        number=trial.number,
        value=entry.mean,
        std=entry.std,
        params=trial.params,
        metrics=trial.best,
        numbers=entry.numbers,
        run=trial.run,
        config=folder.config,
        checkpoint=folder.checkpoint(),
    )
