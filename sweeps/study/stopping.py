"""Stops a sweep by its rule: a value that is good enough, or a terminator of Optuna."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import fmean
from typing import Any

import optuna
from optuna.terminator import BaseTerminator, BestValueStagnationEvaluator, CrossValidationErrorEvaluator, Terminator
from optuna.trial import FrozenTrial, TrialState

from lit_dl.errors import ConfigError
from sweeps.spec.space import Values
from sweeps.spec.spec import Plugin, SweepSpec, plain
from sweeps.study.configurations import config_id_of, newest_trials
from sweeps.study.handle import StudyHandle
from sweeps.study.plugins import PluginClass
from sweeps.study.retry import retry_on_outage
from sweeps.study.sampler_view import seen_by_sampler

_ATTRIBUTE = "stopped"


class Stopping:
    """Decides once that a sweep stops, for all its processes.

    The study's attribute `stopped` holds the reason and the rule. A sweep whose rule was changed since goes on.

    Args:
        handle: The open study.
        spec: The spec.
    """

    def __init__(self, handle: StudyHandle, spec: SweepSpec) -> None:
        self._handle = handle
        self._spec = spec

    @retry_on_outage
    def reason(self) -> str | None:
        """Returns why the sweep has stopped; `None` while it goes on."""
        return self.reason_in(self._handle.study.user_attrs) if self._spec.stop is not None else None

    def reason_in(self, attrs: Mapping[str, Any]) -> str | None:
        """Returns the same from attributes of the study that have been read already."""
        stopped = attrs.get(_ATTRIBUTE) if self._spec.stop is not None else None
        return stopped["reason"] if stopped and stopped["rule"] == plain(self._spec.stop) else None

    @retry_on_outage
    def decide(self) -> None:
        """Asks the rule; called after each trial and at a launch. A terminator may take seconds: not under the lock."""
        if self._spec.stop is None or self.reason() is not None:
            return
        if (reason := self._ask()) is not None:
            self._handle.study.set_user_attr(_ATTRIBUTE, {"reason": reason, "rule": plain(self._spec.stop)})

    def _ask(self) -> str | None:
        assert self._spec.stop is not None
        if (reason := _value_reached(self._spec, self._handle.trials([TrialState.COMPLETE]))) is not None:
            return reason
        terminator = self._spec.stop.terminator
        seen = _feasible(seen_by_sampler(self._handle.study))
        if terminator is not None and build_terminator(terminator).should_terminate(seen):
            return f"{terminator.class_path} expects too little from more trials"
        return None


def _feasible(study: optuna.Study) -> optuna.Study:
    """Returns a study without the completed trials that violate a constraint, which no terminator looks at."""
    trials = study.get_trials(deepcopy=False)
    if all(trial.state != TrialState.COMPLETE or is_feasible(trial) for trial in trials):
        return study
    left = optuna.create_study(directions=study.directions)
    left.add_trials([trial for trial in trials if trial.state != TrialState.COMPLETE or is_feasible(trial)])
    return left


def is_feasible(trial: FrozenTrial) -> bool:
    """Returns whether a trial meets its constraints, as Optuna has them."""
    return all(value <= 0 for value in trial.constraints.values())


def _value_reached(spec: SweepSpec, completed: list[FrozenTrial]) -> str | None:
    """Returns which configuration has reached the value of the rule, by the mean over all its seeds."""
    objective, goal = spec.objectives[0], spec.stop.value if spec.stop else None
    groups: dict[str, list[FrozenTrial]] = {}
    for trial in newest_trials(completed) if goal is not None else []:
        groups.setdefault(config_id_of(trial), []).append(trial)
    for trials in groups.values():
        if not all(map(is_feasible, trials)):
            continue
        mean = fmean(trial.values[0] for trial in trials)
        if len(trials) >= spec.seeds and objective.sign * mean <= objective.sign * goal:  # type: ignore[operator]
            which = f"trial {trials[0].number}" if spec.seeds == 1 else f"the mean of trials {_numbers(trials)}"
            return f"{objective.metric} has reached {goal:g} ({which}: {mean:.6g})"
    return None


def _numbers(trials: list[FrozenTrial]) -> str:
    return ", ".join(str(trial.number) for trial in trials)


def build_terminator(plugin: Plugin) -> BaseTerminator:
    """Builds the terminator of a rule.

    Raises:
        ConfigError: A name is unknown, an argument is refused, or it needs scores that no trial has.
    """
    cls = PluginClass.of("stop.terminator", plugin, optuna.terminator, BaseTerminator, object)
    return cls.build(_check_error_evaluator)  # type: ignore[no-any-return]


def _check_error_evaluator(key: str, cls: type, arguments: Values) -> Values:
    if issubclass(cls, Terminator):
        improvement, error = arguments.get("improvement_evaluator"), arguments.get("error_evaluator")
        needs_none = error is None and isinstance(improvement, BestValueStagnationEvaluator)
        if not needs_none and (error is None or isinstance(error, CrossValidationErrorEvaluator)):
            raise ConfigError(
                f"{key}.init_args.error_evaluator",
                "must be StaticErrorEvaluator or MedianErrorEvaluator, as no trial has cross-validation scores; or set "
                "improvement_evaluator: BestValueStagnationEvaluator, which needs none",
            )
    return arguments
