"""Published figures and claims."""

from __future__ import annotations

from typing import Any

from bad_input.case import DROP, Case

# fmt: off
TWO_RUNS = {"a": {}, "b": {"model.network.width": 4}}
FIGURES = {"metric": "train/acc", "tolerance": 0.01, "values": {"a": 0.9}}
CLAIM = {"claim": "a is better", "better": "a", "worse": "b", "metric": "val/acc"}
EQUALITY = {"claim": "the same", "same": ["a", "b"], "within": 0.01, "metric": "val/acc"}


def _published(name: str, starts: str, says: tuple[str, ...], table: Any = None, **more: Any) -> Case:
    """One wrong thing in a table of published figures."""
    changed = {key: value for key, value in {**FIGURES, **more}.items() if value is not DROP}
    return Case(name, starts, says, spec={"runs": TWO_RUNS, "published": [changed] if table is None else table})


def _claim(name: str, starts: str, says: tuple[str, ...], given: dict[str, Any], **more: Any) -> Case:
    """One wrong thing in a claim."""
    changed = {key: value for key, value in {**given, **more}.items() if value is not DROP}
    return Case(name, starts, says, spec={"runs": TWO_RUNS, "claims": [CLAIM, changed]})


PUBLISHED = [
    _published("no_list", "published: ", ("list", "got 5"), table=5),
    _published("no_mapping", "published[0]: ", ("mapping", "'a'"), table=["a"]),
    _published("unknown_key", "published[0].tolerence: ", ("no such key", "'tolerance'"), tolerence=0.1),
    _published("unknown_key_of_one", "published.speed: ", ("no such key", "tolerance, values"),
               table={**FIGURES, "speed": 1}),
    Case("unknown_run", "published[0].values.run_22: ", ("'run_22'", "run_1, run_2", "did you mean 'run_2'?"),
         spec={"runs": {"run_1": {}, "run_2": {"model.network.width": 4}},
               "published": [{**FIGURES, "values": {"run_1": 0.8, "run_22": 0.9}}]}),
    _published("no_metric", "published[0].metric: ", ("must be given",), metric=DROP),
    _published("no_tolerance", "published[0].tolerance: ", ("must be given",), tolerance=DROP),
    _published("no_values", "published[0].values: ", ("must be given",), values=DROP),
    _published("values_empty", "published[0].values: ", ("at least one", "{}"), values={}),
    _published("values_list", "published[0].values: ", ("mapping", "[0.9]"), values=[0.9]),
    _published("value_text", "published[0].values.a: ", ("finite number", "'high'"), values={"a": "high"}),
    _published("value_not_finite", "published[0].values.a: ", ("finite number", "nan"), values={"a": float("nan")}),
    _published("metric_number", "published[0].metric: ", ("metric", "got 3"), metric=3),
    _published("metric_never_logged", "published[0].metric: ", ("'train/ac'", "never logged", "'train/acc'"),
               metric="train/ac"),
    _published("at_name", "published[0].at: ", ("last, best", "'lats'"), at="lats"),
    _published("at_zero", "published[0].at: ", ("from 1", "got 0"), at=0),
    _published("at_half", "published[0].at: ", ("from 1", "got 1.5"), at=1.5),
    _published("at_true", "published[0].at: ", ("from 1", "got True"), at=True),
    _published("at_after_the_last", "published[0].at: ", ("a, which has 2", "got 3"), at=3),
    _published("tolerance_negative", "published[0].tolerance: ", ("0 or more", "got -0.1"), tolerance=-0.1),
    _published("tolerance_text", "published[0].tolerance: ", ("finite number", "'small'"), tolerance="small"),
    _published("title_number", "published[0].title: ", ("text", "got 5"), title=5),
    _published("source_list", "published[0].source: ", ("text", "['a']"), source=["a"]),
    _published("test_of_the_best", "published[0].metric: ", ("evaluate_test: all", "test/acc", "got best"),
               metric="test/acc"),
    Case("without_runs", "runs: ", ("must be given", "published[0].values.a"), spec={"published": [FIGURES]}),
    Case("claims_no_list", "claims: ", ("list", "'better'"), spec={"runs": TWO_RUNS, "claims": CLAIM}),
    _claim("claim_unknown_key", "claims[1].beter: ", ("no such key", "'better'"), CLAIM, beter="a"),
    _claim("claim_unknown_run", "claims[1].worse: ", ("'c'", "a, b"), CLAIM, worse="c"),
    _claim("claim_unknown_run_in_list", "claims[1].better[1]: ", ("'c'", "a, b"), CLAIM, better=["a", "c"]),
    _claim("claim_run_number", "claims[1].better: ", ("3", "a, b"), CLAIM, better=3),
    _claim("claim_no_run", "claims[1].better: ", ("at least one",), CLAIM, better=[]),
    _claim("claim_twice", "claims[1].better: ", ("twice",), CLAIM, better=["a", "a"]),
    _claim("claim_against_itself", "claims[1].worse: ", ("other runs than better",), CLAIM, worse=["b", "a"]),
    _claim("claim_no_text", "claims[1].claim: ", ("must be given",), CLAIM, claim=DROP),
    _claim("claim_no_worse", "claims[1].worse: ", ("must be given",), CLAIM, worse=DROP),
    _claim("claim_of_nothing", "claims[1]: ", ("better and worse", "same and within"), CLAIM, worse=DROP, better=DROP),
    _claim("claim_both", "claims[1].better: ", ("does not go with same",), EQUALITY, better="a", worse="b"),
    _claim("claim_direction_of_same", "claims[1].direction: ", ("does not go with same",), EQUALITY,
           direction="maximize"),
    _claim("claim_direction", "claims[1].direction: ", ("'up'", "minimize, maximize"), CLAIM, direction="up"),
    _claim("claim_never_logged", "claims[1].metric: ", ("'val/accuracy'", "never logged", "'val/acc'"), CLAIM,
           metric="val/accuracy"),
    _claim("same_no_margin", "claims[1].within: ", ("must be given",), EQUALITY, within=DROP),
    _claim("same_negative_margin", "claims[1].within: ", ("0 or more", "got -1"), EQUALITY, within=-1),
    _claim("same_of_one", "claims[1].same: ", ("two names", "['a']"), EQUALITY, same=["a"]),
]
