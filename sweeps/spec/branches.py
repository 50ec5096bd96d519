"""Checks a run config for each branch of the search space."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from lit_dl.config.keys import OUR_MODELS, Config, class_paths, full_key, short_key
from lit_dl.errors import ConfigError
from sweeps.spec.spec import SweepSpec
from sweeps.spec.trainer_limits import check_trainer


def check_branches(spec: SweepSpec) -> None:
    """Checks every option and both bounds of every range, one at a time, and every named run.

    Raises:
        ConfigError: A trial with these values could not start. The error names the branch.
    """
    first = spec.configuration(spec.space.first(), None, 0)
    with _parameter_in_errors(spec):
        _check_config(spec, first)
    checked = {repr(first)}  # `repr` tells 1, 1.0 and True apart
    for where, config in _branch_configs(spec):
        if repr(config) not in checked:
            checked.add(repr(config))
            with _where_in_errors(where):
                _check_config(spec, config)


def _branch_configs(spec: SweepSpec) -> Iterator[tuple[str, Config]]:
    """Yields each branch: what it is called in errors, and its run config."""
    for where, values in spec.space.branches():
        yield where, spec.configuration(values, None, 0)
    for run in spec.runs:
        yield f"in runs.{run}", spec.configuration({}, run, 0)


@contextmanager
def _where_in_errors(where: str) -> Iterator[None]:
    """Adds to an error which branch it is about."""
    try:
        yield
    except ConfigError as error:
        raise ConfigError(error.key, f"{error.problem} ({where})") from None


@contextmanager
def _parameter_in_errors(spec: SweepSpec) -> Iterator[None]:
    """Adds to an error which parameter of the space sets its key, if one does."""
    try:
        yield
    except ConfigError as error:
        origin = spec.space.origin(error.key)
        raise ConfigError(error.key, error.problem + (f" (in {origin})" if origin else "")) from None


@contextmanager
def unknown_keys_of_space(spec: SweepSpec) -> Iterator[None]:
    """Names the key of the space in an error about a key that no class takes, or an element that no list has."""
    try:
        yield
    except ConfigError as error:
        for parameter in spec.space if error.problem.startswith("no s") else []:
            for target in parameter.targets():
                if _is_about(error.key, target, spec.base):
                    raise ConfigError(parameter.spec_key(target), error.problem) from None
        raise


def _is_about(key: str, target: str, base: Config) -> bool:
    """Whether a key of a config is what a target of the space sets, or an element of a list that the target is in."""
    if target.startswith(f"{key}."):
        return True
    try:
        target = full_key(base, target)
    except ConfigError:
        return False
    return short_key(target) == short_key(key)


def _check_config(spec: SweepSpec, config: Config) -> None:
    """Builds the run of a config. Only parses it if the module is foreign, or if `check` is `parse`."""
    from lit_dl.cli.lit_cli import build_run, check_config

    check_trainer(config)
    if spec.check == "parse" or class_paths(config)[0] not in OUR_MODELS:
        check_config(config)
    else:
        build_run(config).check()
