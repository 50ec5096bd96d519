"""Samplers and pruners."""

from __future__ import annotations

from typing import Any

from bad_input.case import DROP, LR, MOMENTUM, Case


def wrapped(class_path: str, **init_args: Any) -> dict[str, Any]:
    """A class with arguments, among which may be classes."""
    return {"class_path": class_path, "init_args": init_args}


def fixed(values: dict[str, Any], sampler: Any) -> dict[str, Any]:
    """A sampler in which some values are fixed."""
    return wrapped("PartialFixedSampler", fixed_params=values, base_sampler=sampler)


def stops(class_path: str, **init_args: Any) -> dict[str, Any]:
    """A spec's rule to stop by a terminator."""
    return {"stop": {"terminator": wrapped(class_path, **init_args)}}


# fmt: off
PLUGINS = [
    Case("sampler_name", "sampler: ", ("'TPESampel'", "'TPESampler'"), spec={"sampler": "TPESampel"}),
    Case("sampler_argument", "sampler.init_args: ", ("TPESampler", "startup"),
         spec={"sampler": {"class_path": "TPESampler", "init_args": {"startup": 10}}}),
    Case("sampler_argument_nearest", "sampler.init_args", ("n_startup_trial", "'n_startup_trials'"),
         spec={"sampler": {"class_path": "TPESampler", "init_args": {"n_startup_trial": 10}}}),
    Case("sampler_argument_type", "sampler.init_args", ("n_startup_trials", "ten"),
         spec={"sampler": {"class_path": "TPESampler", "init_args": {"n_startup_trials": "ten"}}}),
    Case("sampler_seed", "sampler.init_args", ("seed", "lucky"),
         spec={"sampler": {"class_path": "TPESampler", "init_args": {"seed": "lucky"}}}),
    Case("sampler_import", "sampler.class_path: ", ("'nowhere.Sampler'", "import"),
         spec={"sampler": "nowhere.Sampler"}),
    Case("sampler_no_sampler", "sampler.class_path: ", ("'strange.NotAModule'", "Sampler"),
         spec={"sampler": "strange.NotAModule"}),
    Case("pruner_as_sampler", "sampler: ", ("'MedianPruner'",), spec={"sampler": "MedianPruner"}),
    Case("gp_without_scipy", "sampler: ", ("GPSampler", "scipy", "pip install"), spec={"sampler": "GPSampler"},
         lacks="scipy"),
    Case("qmc_without_scipy", "sampler: ", ("QMCSampler", "scipy", "pip install"), spec={"sampler": "QMCSampler"},
         lacks="scipy"),
    Case("cmaes_without_cmaes", "sampler: ", ("CmaEsSampler", "cmaes", "pip install"), spec={"sampler": "CmaEsSampler"},
         lacks="cmaes"),
    Case("wilcoxon_without_scipy", "pruner: ", ("WilcoxonPruner", "scipy", "pip install"),
         spec={"pruner": "WilcoxonPruner"}, lacks="scipy"),
    Case("grid_without_step", f"space.{LR}: ", ("step", "choices"), spec={"sampler": "GridSampler"}),
    Case("grid_with_when", "space.model.optimizer.momentum.when: ", ("GridSampler",), spec={"sampler": "GridSampler"},
         space={LR: DROP, **MOMENTUM}),
    Case("brute_force_without_step", f"space.{LR}: ", ("step", "choices"), spec={"sampler": "BruteForceSampler"}),
    Case("grid_own_space", "sampler.init_args", ("search_space",),
         spec={"sampler": {"class_path": "GridSampler", "init_args": {"search_space": {"x": [1]}}}}, space={LR: DROP}),
    Case("sampler_needs_sampler", "sampler.init_args: ", ("PartialFixedSampler", "base_sampler"),
         spec={"sampler": "PartialFixedSampler"}),
    Case("pruner_name", "pruner: ", ("'MedianPrunner'", "'MedianPruner'"), spec={"pruner": "MedianPrunner"}),
    Case("pruner_argument", "pruner.init_args: ", ("MedianPruner", "warmup"),
         spec={"pruner": {"class_path": "MedianPruner", "init_args": {"warmup": 1}}}),
    Case("pruner_argument_value", "pruner.init_args: ", ("-1",),
         spec={"pruner": {"class_path": "MedianPruner", "init_args": {"n_startup_trials": -1}}}),
    Case("pruner_needs_argument", "pruner.init_args: ", ("PercentilePruner", "percentile"),
         spec={"pruner": "PercentilePruner"}),
    Case("pruner_empty", "pruner.class_path: ", ("name of a class",), spec={"pruner": {}}),
    Case("hyperband_resource", "pruner.init_args: ", ("HyperbandPruner", "0"),
         spec={"pruner": {"class_path": "HyperbandPruner", "init_args": {"max_resource": 0}}}),
    Case("sampler_empty", "sampler: ", ("''", "TPESampler"), spec={"sampler": ""}),
    Case("pruner_false", "pruner: ", ("False",), spec={"pruner": False}),
    Case("pruner_argument_type", "pruner.init_args", ("n_warmup_steps", "few"),
         spec={"pruner": {"class_path": "MedianPruner", "init_args": {"n_warmup_steps": "few"}}}),
    Case("wrapped_pruner_name", "pruner.init_args.wrapped_pruner: ", ("'MedianPrunner'", "'MedianPruner'"),
         spec={"pruner": wrapped("PatientPruner", wrapped_pruner="MedianPrunner", patience=1)}),
    Case("wrapped_pruner_argument", "pruner.init_args.wrapped_pruner.init_args: ", ("MedianPruner", "'warmup'"),
         spec={"pruner": wrapped("PatientPruner", wrapped_pruner=wrapped("MedianPruner", warmup=1), patience=1)}),
    Case("wrapped_sampler", "pruner.init_args.wrapped_pruner: ", ("'TPESampler'",),
         spec={"pruner": wrapped("PatientPruner", wrapped_pruner="TPESampler", patience=1)}),
    Case("wrapped_key", "sampler.init_args.base_sampler.args: ", ("no such key",),
         spec={"sampler": fixed({}, {"class_path": "X", "args": {}})}),
    Case("sampler_fails_late", "sampler.init_args: ", ("late_plugins.LateSampler", "no model fits"),
         spec={"sampler": "late_plugins.LateSampler", "n_trials": 40}),
    Case("wrapped_fails_late", "sampler.init_args: ", ("CmaEsSampler", "no model fits"),
         spec={"sampler": wrapped("CmaEsSampler", independent_sampler="late_plugins.LateSampler"), "n_trials": 40}),
    Case("pruner_fails_late", "pruner.init_args: ", ("PatientPruner", "no curve fits"),
         spec={"pruner": wrapped("PatientPruner", wrapped_pruner="late_plugins.LatePruner", patience=7)}),
    Case("wrapped_grid", "sampler.init_args.base_sampler: ", ("GridSampler", "all points"),
         spec={"sampler": fixed({}, "GridSampler")}),
    Case("fixed_name", "sampler.init_args.fixed_params.model.optimizer.l: ", ("key of the space", f"'{LR}'"),
         spec={"sampler": fixed({"model.optimizer.l": 1}, "TPESampler")}),
    Case("fixed_value", f"sampler.init_args.fixed_params.{LR}: ", ("values in space", "7"),
         spec={"sampler": fixed({LR: 7}, "TPESampler")}),
    Case("large_grid", "sampler: ", ("100,000,000", "BruteForceSampler"), spec={"sampler": "GridSampler"},
         space={LR: DROP, "model.network.activation": DROP, **{key: {"choices": [*range(100)]} for key in "abcd"}}),
    Case("long_range", "space.data.batch_size: ", ("1,000,000", "100,000,000", "step"),
         spec={"sampler": "BruteForceSampler"}, space={LR: DROP, "data.batch_size": {"low": 1, "high": 10**8}}),
    Case("terminator_name", "stop.terminator: ", ("'Termintor'", "'Terminator'"), spec=stops("Termintor")),
    Case("terminator_argument", "stop.terminator.init_args: ", ("min_trials", "'min_n_trials'"),
         spec=stops("Terminator", improvement_evaluator="BestValueStagnationEvaluator", min_trials=3)),
    Case("terminator_inner_name", "stop.terminator.init_args.improvement_evaluator: ", ("'EMMREvaluator'",),
         spec=stops("Terminator", improvement_evaluator="EMMREvaluater")),
    Case("terminator_needs_scores", "stop.terminator.init_args.error_evaluator: ",
         ("StaticErrorEvaluator", "BestValueStagnationEvaluator"), spec=stops("Terminator")),
    Case("terminator_fails_late", "stop.terminator.init_args: ", ("no end in sight",),
         spec={**stops("late_plugins.LateTerminator"), "n_trials": 30}),
]
