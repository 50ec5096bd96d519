"""Plans the extension of a sweep's completed trials by more epochs: `sweeps launch --extend`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from lit_dl.config.keys import get_key
from lit_dl.errors import ConfigError
from sweeps.results.ranking import RankedConfiguration, ranking
from sweeps.results.trial_result import TrialResult, finished_results
from sweeps.spec.spec import SweepSpec
from sweeps.study.extensions import ExtensionPlan
from sweeps.study.storage import JOURNAL
from sweeps.study.study import SharedStudy
from sweeps.trial_folder import TrialFolder

_KEY = "trainer.max_epochs"
_MOST_NUMBERS = 10


@dataclass(frozen=True)
class ExtendRequest:
    """What `--extend` and `--extend_best` ask for.

    Args:
        epochs: `20`: to 20 epochs in all; `+10`: by 10 more.
        best: Only the first so many configurations of the ranking; `None`: all.
    """

    epochs: str
    best: int | None = None

    @classmethod
    def parse(cls, epochs: str | None, best: str | None = None) -> ExtendRequest | None:
        """Returns the request in two options of a command line; `None` without the first.

        Raises:
            ConfigError: An option is wrong.
        """
        if best is not None and (epochs is None or not re.fullmatch("0*[1-9][0-9]*", best)):
            what = f"must be a whole number, 1 or more; got {best!r}" if epochs else "must come with --extend"
            raise ConfigError("--extend_best", what)
        if epochs is not None and not re.fullmatch(r"\+?0*[1-9][0-9]*", epochs):
            raise ConfigError("--extend", f"must be epochs in all, such as 20, or more of them, as +10; got {epochs!r}")
        return None if epochs is None else cls(epochs, None if best is None else int(best))

    def target(self, trained: int) -> int:
        """Returns the new number of epochs of a trial that has so many."""
        return int(self.epochs) + (trained if self.epochs.startswith("+") else 0)

    def __str__(self) -> str:
        return f"--extend {self.epochs}" + (f" --extend_best {self.best}" if self.best else "")


def check_extendable(run_dir: Path, url: str | None, spec: SweepSpec) -> None:
    """Refuses to extend trials whose length is not `trainer.max_epochs` of the base, and a folder without a study.

    Args:
        run_dir: The run folder.
        url: Storage; `None`: the journal in the run folder.
        spec: The resolved spec.

    Raises:
        ConfigError: See above.
    """
    for key in (_KEY, "trainer.max_steps"):
        if any(key in parameter.targets() for parameter in spec.space):
            raise ConfigError("--extend", f"does not go with {key} in space, by which each trial has its own length")
    steps, epochs = get_key(spec.base, "trainer.max_steps"), get_key(spec.base, _KEY)
    if steps not in (None, -1):
        raise ConfigError("--extend", f"must have trials that end by {_KEY}; trainer.max_steps={steps} ends these")
    if epochs == -1:
        raise ConfigError("--extend", f"must have trials that end by {_KEY}; the base has {_KEY}=-1")
    if not (run_dir / ("spec.yaml" if url else JOURNAL)).is_file():
        raise ConfigError("--extend", f"must have a --run_dir with completed trials; {run_dir} has none")


def plan_extension(study: SharedStudy, run_dir: Path, request: ExtendRequest) -> tuple[ExtensionPlan | None, str]:
    """Returns which trials a launch extends, and a line that says so; no plan where all have been extended so far.

    The same request again goes on with its plan while that is not over.

    Raises:
        ConfigError: No trial can be extended, or another request is not over.
    """
    last = study.extensions.plan()
    unfinished = study.extensions.unfinished(last) if last is not None and not last.is_over else []
    if last is not None and not last.is_over and last.request == asdict(request):
        return last, f"extend: goes on; {len(unfinished)} of {len(last.max_epochs)} trials have not ended"
    if last is not None and unfinished:
        before = ExtendRequest(**last.request)
        raise ConfigError(
            "--extend",
            f"must wait until the {len(unfinished)} trials left of {before} have ended; got {request}; leave it out",
        )
    ranked = ranking(finished_results(study.spec, study.trials(), {}), study.spec.objectives)[: request.best]
    if not ranked:
        raise ConfigError("--extend", f"must have completed trials; {run_dir} has none")
    return _new_plan(1 if last is None else last.number + 1, request, ranked, run_dir)


def _new_plan(
    number: int, request: ExtendRequest, ranked: Sequence[RankedConfiguration], run_dir: Path
) -> tuple[ExtensionPlan | None, str]:
    max_epochs: dict[int, int] = {}
    left_out: dict[str, list[int]] = {}
    for entry in ranked:
        for trial, reason in _reasons(entry, request, run_dir):
            if reason is None:
                max_epochs[trial.number] = request.target(trial.epochs or 0)
            else:
                left_out.setdefault(reason, []).append(trial.number)
    why = "; ".join(f"{reason} (trial {_numbers(numbers)})" for reason, numbers in left_out.items())
    if max_epochs:
        plan = ExtensionPlan(number, asdict(request), max_epochs)
        return plan, f"extend: {_what(plan)}" + (f"; left out: {why}" if why else "")
    if any(trial.extends is not None and trial.epochs == request.target(0) for e in ranked for trial in e.trials):
        return None, f"extend: nothing is left to do; {why}"
    raise ConfigError("--extend", f"must name more epochs for trials that can go on; got {request}; {why}")


def _reasons(entry: RankedConfiguration, request: ExtendRequest, run_dir: Path) -> list[tuple[TrialResult, str | None]]:
    """Returns the trials of a configuration, each with why it is not extended; `None`: it is.

    Where one of them has no checkpoint, none is extended: the mean over the seeds would be one of different lengths.
    """
    reasons = [(trial, _why_not(trial, request.target(trial.epochs or 0))) for trial in entry.trials]
    chosen = [trial for trial, reason in reasons if reason is None]
    if all((TrialFolder(run_dir, trial.number).checkpoints / "last.ckpt").is_file() for trial in chosen):
        return reasons
    return [(trial, reason or "without last.ckpt, see keep") for trial, reason in reasons]


def _why_not(trial: TrialResult, target: int) -> str | None:
    if trial.reason == "early_stopping":
        return "stopped early, where more epochs would not be trained"
    if trial.reason != "max_epochs":
        return "stopped by a callback or a limit of its own"
    return None if target > (trial.epochs or 0) else f"{trial.epochs} epochs already"


def _what(plan: ExtensionPlan) -> str:
    lengths = sorted(set(plan.max_epochs.values()))
    length = f"{lengths[0]}" if len(lengths) == 1 else f"{lengths[0]} to {lengths[-1]}"
    numbers = sorted(plan.max_epochs)
    return f"trial {_numbers(numbers)} {'go' if len(numbers) > 1 else 'goes'} on to {length} epochs"


def _numbers(numbers: Sequence[int]) -> str:
    more = f" and {len(numbers) - _MOST_NUMBERS} more" if len(numbers) > _MOST_NUMBERS else ""
    return ", ".join(map(str, numbers[:_MOST_NUMBERS])) + more
