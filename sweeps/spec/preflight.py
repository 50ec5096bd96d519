"""Checks a spec before trial 0, with its classes imported: keys, types, every branch of the space, one training step.

The checks run in a child process. Torch, the user's modules, and all that these change, end with it.
"""

from __future__ import annotations

import re
import traceback
from contextlib import closing
from dataclasses import dataclass, field, replace

from lit_dl.config.keys import (
    OUR_MODELS,
    Config,
    check_keys,
    class_paths,
    get_key,
    normalize,
    split_classes,
    unknown_key,
    with_optimizer_name,
)
from lit_dl.config.overlay import is_ours, without_alias
from lit_dl.errors import ConfigError, LitError, never_logged
from lit_dl.tracking import Mode
from sweeps.processes.fork_server import fork_server, parent_channel
from sweeps.processes.parent_watch import kill_own_group, on_parent_exit
from sweeps.spec.branches import check_branches, unknown_keys_of_space
from sweeps.spec.constraint import check_logged
from sweeps.spec.define_by_run import FunctionSpace
from sweeps.spec.early_stopping import decide_early_stopping
from sweeps.spec.first_step import FirstStep, try_first_step
from sweeps.spec.last_step import with_max_resource
from sweeps.spec.range_types import typed_space
from sweeps.spec.spec import SweepSpec
from sweeps.spec.trainer_limits import check_devices


@dataclass(frozen=True)
class Checked:
    """The result of the checks.

    Args:
        spec: The spec with a complete base, and with a type for each range.
        gpus: GPUs that trials may use; 0 if the base asks for the CPU.
        metrics: Names of the metrics that a run logs; empty if no step was run.
        notes: What the user should know and is no error.
    """

    spec: SweepSpec
    gpus: int
    metrics: list[str]
    notes: list[str] = field(default_factory=list)


def check_in_child(spec: SweepSpec, wandb: Mode | None = None) -> Checked:
    """Runs `check_spec` in a process of its own.

    Raises:
        ConfigError: As `check_spec`; or that process died.
    """
    process = fork_server().fork("sweeps.spec.preflight:run_check", spec, wandb, name="check")
    with closing(process):
        try:
            result = process.channel.recv()
        except (EOFError, OSError):
            raise ConfigError("base", "the process that tried one step of it died; try lit-dl fit on it") from None
    if isinstance(result, Exception):
        raise result
    assert isinstance(result, Checked)
    return result


def run_check(spec: SweepSpec, wandb: Mode | None) -> None:
    """Runs `check_spec` in this process, and sends the launcher its result or its exception."""
    from lit_dl.cli.command import ignore_slurm, silence_lightning
    from lit_dl.tracking import forget_enclosing_wandb_run

    silence_lightning(with_profilers=True)
    ignore_slurm()
    forget_enclosing_wandb_run()
    on_parent_exit(kill_own_group)
    try:
        result: Checked | Exception = check_spec(spec, wandb)
    except LitError as error:
        result = error
    except Exception as error:
        traceback.print_exc()  # which does not cross to the launcher
        result = error
    parent_channel().send(result)


def check_spec(spec: SweepSpec, wandb: Mode | None = None) -> Checked:
    """Checks a spec in this process.

    Args:
        spec: The spec.
        wandb: Mode of the W&B runs of the trials; `None`: that of the config.

    Raises:
        ConfigError: A key, type, value or metric would fail in a trial.
    """
    import torch

    from sweeps.spec.explore_function import explored

    torch.set_num_threads(1)
    if isinstance(spec.space, FunctionSpace):
        count_up_to = spec.n_trials if spec.sampler.class_path.endswith("BruteForceSampler") else 0
        spec = replace(spec, space=explored(spec.space, count_up_to))
    _check_keys(spec)
    _check_metrics_of_ours(spec)
    spec = decide_early_stopping(spec)
    spec = replace(spec, base=complete_base(spec.base))
    check_devices(spec)
    with unknown_keys_of_space(spec):
        spec = replace(spec, space=typed_space(spec))
        check_branches(spec)
    config = spec.configuration(spec.space.first(), None, 0)
    step = try_first_step(spec, config, wandb) if spec.check == "step" else FirstStep()
    if step.metrics:
        check_logged(spec.constraints, step.metrics)
    on_cpu = get_key(spec.base, "trainer.accelerator") == "cpu"
    spec = with_max_resource(spec, step.reports)
    return Checked(spec, 0 if on_cpu else torch.cuda.device_count(), step.metrics, step.notes)


def _check_keys(spec: SweepSpec) -> None:
    """Refuses keys of the base and of the space that no class in use takes."""
    from lit_dl.cli.lit_cli import parser_for

    known = parser_for(spec.base).keys
    _, base = split_classes(spec.base)
    check_keys(with_optimizer_name(base) if is_ours(spec.base) else base, known)
    for parameter in spec.space:
        for key in parameter.targets():
            if key in ("model.class_path", "data.class_path"):
                return  # each branch has the keys of another class; the check of branches finds unknown ones
            key = without_alias(spec.base, key)
            if key not in known and not any(key.startswith(f"{leaf}.") for leaf in known):
                raise ConfigError(parameter.spec_key(key), unknown_key(key, known).problem)


def _check_metrics_of_ours(spec: SweepSpec) -> None:
    """Refuses metrics that a model of ours never logs; its class lists them, so this needs no training step."""
    path = class_paths(spec.base)[0]
    if path not in OUR_MODELS or spec.space.spec_keys("model.class_path"):
        return
    import lit_dl

    logged = getattr(lit_dl, path.rpartition(".")[2]).logged()
    for objective in spec.objectives:
        if objective.metric not in logged:
            raise never_logged("objective.metric", objective.metric, logged)
    # Callbacks may log metrics with other prefixes.
    check_logged([name for name in spec.constraints if name.startswith(("train/", "val/"))], logged)
    for key, quantity, _ in spec.quantities():
        like = re.sub(r"^test\w*/", "val/", quantity.metric)
        if like.startswith(("train/", "val/")) and like not in logged:
            raise never_logged(f"{key}.metric", quantity.metric, logged)


def complete_base(base: Config) -> Config:
    """Returns a base with all defaults, so that it means the same when defaults change in a later version.

    A base that does not parse is returned as it is. An argument without default may be in the space; the check of
    branches reports what is wrong.
    """
    from lit_dl.cli.lit_cli import parse_config

    try:
        return normalize(parse_config(base))
    except ConfigError:
        return base
