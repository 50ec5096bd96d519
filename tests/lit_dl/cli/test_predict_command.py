"""`lit-dl predict` and `lit-dl test` with modules of others: they write something, or say what is missing."""

from __future__ import annotations

from pathlib import Path

import pytest

from lit_dl.cli.command import command
from lit_dl.errors import ConfigError

pytestmark = pytest.mark.filterwarnings("ignore:Couldn.t infer the batch indices")


def run(name: str, module: str, folder: Path) -> None:
    command([name, "--model", f"tested.{module}", "--trainer.accelerator", "cpu", "--run_dir", str(folder)])


def test_predictions_of_several_loaders_are_one_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run("predict", "Predicting", tmp_path)
    assert (tmp_path / "predictions.csv").read_text() == "sample,value\n0,2.0\n1,2.0\n2,2.0\n3,2.0\n4,0.0\n"
    assert f"5 predictions in {tmp_path / 'predictions.csv'}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "module", "message"),
    [
        ("predict", "Unpredicting", "model: must have a predict_step or a forward; Unpredicting has neither"),
        ("predict", "NothingToPredict", "model: must have a predict_dataloader; NothingToPredict has none"),
        (
            "predict",
            "Unpacking",
            "model: must have a predict_step for these batches; Lightning's gives the whole batch to forward, which "
            "fails (TypeError: no whole batches)",
        ),
        ("test", "NoTest", "model: must have a test_step; NoTest has none"),
        ("test", "NoLoader", "model: must have a test_dataloader; NoLoader has none"),
    ],
)
def test_what_is_missing_is_said(tmp_path: Path, name: str, module: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        run(name, module, tmp_path)
    assert str(caught.value) == message
    assert not (tmp_path / "predictions.csv").exists()
