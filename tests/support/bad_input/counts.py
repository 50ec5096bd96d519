"""Numbers of trials, workers, seeds; durations."""

from __future__ import annotations

from bad_input.case import DROP, NO_SPACE, Case

# fmt: off
COUNTS = [
    *(Case(f"n_trials_{label}", "n_trials: ", ("whole number", "1 or more", repr(value)),
             spec={"n_trials": value}) for label,
         value in (("zero", 0), ("negative", -3), ("fraction", 1.5), ("text", "ten"), ("true", True))),
    Case("n_trials_missing", "n_trials: ", ("must be given",), spec={"n_trials": DROP}),
    *(Case(f"n_trials_argument_{label}", "n_trials: ", ("whole number", value),
             args=(f"--n_trials={value}",)) for label,
         value in (("zero", "0"), ("negative", "-3"), ("fraction", "1.5"), ("text", "ten"), ("list", "[1]"))),
    Case("n_trials_argument_empty", "n_trials: ", ("whole number",), args=("--n_trials=",)),
    *(Case(f"workers_{label}", "workers: ", ("whole number", "0 or more", repr(value)),
             spec={"workers": value}) for label,
         value in (("negative", -1), ("fraction", 1.5), ("text", "many"), ("false", False))),
    *(Case(f"workers_argument_{label}", "workers: ", ("whole number", value), args=(f"--workers={value}",)) for label,
         value in (("negative", "-1"), ("fraction", "1.5"), ("text", "many"), ("square", "\u00b2"))),
    Case("seeds_zero", "seeds: ", ("whole number", "0"), spec={"seeds": 0}),
    Case("seeds_fraction", "seeds: ", ("whole number", "2.5"), spec={"seeds": 2.5}),
    Case("seeds_do_not_divide", "n_trials: ", ("multiple of seeds=3", "got 4", "6"), spec={"seeds": 3}),
    Case("n_trials_below_runs", "n_trials: ", ("at least 2", "got 1"),
         spec={"n_trials": 1, "runs": {"a": {}, "b": {}}}),
    Case("n_trials_without_space", "space: ", ("n_trials=4",), space=NO_SPACE),
    Case("max_failures_zero", "max_failures: ", ("whole number", "0"), spec={"max_failures": 0}),
    *(Case(f"timeout_{label}", "timeout: ", ("above 0", repr(value)), spec={"timeout": value}) for label,
         value in (("zero", 0), ("zero_text", "0s"), ("negative", -5), ("text", "soon"), ("list", [1]))),
    Case("timeout_infinite", "timeout: ", ("inf",), spec={"timeout": float("inf")}),
    Case("timeout_argument_zero", "timeout: ", ("above 0", "'0'"), args=("--timeout", "0")),
    Case("timeout_argument_text", "timeout: ", ("above 0", "'1 day'"), args=("--timeout", "1 day")),
]
