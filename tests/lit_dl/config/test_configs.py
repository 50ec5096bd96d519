"""Every YAML that claims to run, runs: one batch of each run config, all checks of each sweep."""

from __future__ import annotations

from pathlib import Path

import pytest
from paths import REPOSITORY

from lit_dl.cli.lit_cli import build_run, parse_config
from lit_dl.config.keys import normalize
from lit_dl.config.overlay import merge
from lit_dl.config.yaml_io import dump_yaml, load_yaml, parse_yaml
from lit_dl.modules.supervised import SupervisedModule
from lit_dl.run.run_result import RunLocation
from sweeps.spec.parse_spec import load_spec
from sweeps.spec.preflight import check_spec

FITS = sorted((REPOSITORY / "configs" / "fit").glob("*.yaml"))
SWEEPS = sorted([*(REPOSITORY / "configs" / "sweeps").rglob("*.yaml"), *(REPOSITORY / "examples").glob("*.yaml")])


LIMITS = {
    "max_epochs": 1,
    "limit_train_batches": 2,
    "limit_val_batches": 1,
    "accelerator": "cpu",
    "check_val_every_n_epoch": 1,
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working directory with the run that `transfer.yaml` starts from."""
    path = tmp_path_factory.mktemp("work")
    config = merge(normalize(load_yaml(REPOSITORY / "configs" / "fit" / "mnist_mlp.yaml")), {"trainer": LIMITS})
    location = RunLocation(path / "runs" / "mnist_mlp", "mnist_mlp", wandb="disabled")
    run = build_run(config, location)
    run.open()
    run.fit()
    run.close()
    return path


@pytest.mark.parametrize("path", FITS, ids=lambda path: path.stem)
def test_a_run_config_trains_and_validates_and_so_does_what_is_written_of_it(
    folder: Path, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    run = build_run(merge(normalize(load_yaml(path)), {"trainer": LIMITS}))
    run.fit()
    assert isinstance(run.module, SupervisedModule)
    assert set(run.module.logged()) <= set(run.rows[0])
    again = build_run(parse_yaml(dump_yaml(run.config), "config.yaml"))
    assert again.config == run.config
    again.fit()
    assert {**again.rows[0], "elapsed_s": 0} == {**run.rows[0], "elapsed_s": 0}


@pytest.mark.filterwarnings("ignore:.*does not have many workers.*")
@pytest.mark.parametrize("path", SWEEPS, ids=lambda path: path.stem)
def test_a_sweep_passes_its_checks(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(REPOSITORY))
    checked = check_spec(load_spec(path))
    assert checked.spec.objectives[0].metric in checked.metrics
    complete = parse_config(checked.spec.configuration(checked.spec.space.first(), None, 0))
    assert parse_config(parse_yaml(dump_yaml(complete), "config.yaml")) == complete


def test_each_is_listed_with_what_it_gives() -> None:
    text = (REPOSITORY / "configs" / "README.md").read_text()
    for path in [*FITS, *SWEEPS]:
        assert f"{path.parent.name}/{path.name}" in text, path
