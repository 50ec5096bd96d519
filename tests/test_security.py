"""Secrets stay where they are, and nothing that comes from disk or storage is unpickled."""

from __future__ import annotations

import ast
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from forked import run_python
from paths import REPOSITORY
from postgresql import PASSWORD, Server
from sweep_specs import tiny_data, write_spec

SOURCES = sorted(path for package in ("lit_dl", "sweeps") for path in (REPOSITORY / package).rglob("*.py"))
KEY = "local-" + "5ec4e7" * 6 + "beef"  # of the length that W&B wants
VALUE = "v-4lue-of-the-env1ronment"
NETRC = "netrc-p4ssw0rd"
MODULE = """
import os
from lit_dl import Classifier

class Sometimes(Classifier):
    def on_train_epoch_start(self):
        super().on_train_epoch_start()
        token = os.environ["MY_TOKEN"]  # among the locals of the frame that fails
        url = os.environ["SWEEPS_STORAGE"]
        if token and url and self.network_config.width in (4, [4]):
            raise RuntimeError("a <bug>")
"""


def base(folder: Path) -> dict[str, Any]:
    network = {"input_shape": [1, 8, 8], "outputs": 2, "width": 8}
    return {
        "model": {"class_path": "someones.Sometimes", "init_args": {"network": network}},
        "data": {"data_dir": str(tiny_data(folder / "data")), "dataset": "idx", "batch_size": 20, "validation": 40},
        "trainer": {"max_epochs": 2, "accelerator": "cpu"},
    }


def test_no_secret_is_in_any_file_or_output(tmp_path: Path, server: Server) -> None:
    (tmp_path / "someones.py").write_text(MODULE)
    (tmp_path / "netrc").write_text(f"machine api.wandb.ai login user password {NETRC}\n")
    environment = {
        **os.environ,
        "SWEEPS_STORAGE": server.url,
        "WANDB_API_KEY": KEY,
        "MY_TOKEN": VALUE,
        "NETRC": str(tmp_path / "netrc"),
        "PYTHONPATH": str(tmp_path),
    }
    run_dir = tmp_path / "run"
    space = {"model.network.width": {"choices": [4, 8]}, "model.optimizer.lr": {"low": 0.001, "high": 0.1}}
    spec = write_spec(tmp_path, base=base(tmp_path), space=space, n_trials=4, check="build")
    outputs = ""

    def sweeps(*words: object, status: int = 0) -> None:
        nonlocal outputs
        done = run_python(["-m", "sweeps", *map(str, words)], tmp_path, environment)
        outputs += done.stdout + done.stderr
        assert done.returncode == status, done.stdout + done.stderr

    sweeps("launch", spec, "--run_dir", run_dir, "--workers", 1, "--wandb", "offline")
    sweeps("status", run_dir, "--json")
    sweeps("best", run_dir, "--json")
    sweeps("report", run_dir)
    sweeps("replay", run_dir, "--trial", 0)
    environment["SWEEPS_STORAGE"] = server.url.replace("127.0.0.1", "127.0.0.1:1,127.0.0.1")
    sweeps("worker", run_dir, status=2)
    logs = "".join(path.read_text() for path in run_dir.glob("trials/*/log.txt"))
    assert "a <bug>" in logs
    assert "Traceback" in logs
    files = [path for path in run_dir.rglob("*") if path.is_file()]
    assert {"results.csv", "status.json", "report.html", "spec.yaml"} <= {path.name for path in files}
    assert any(path.suffix == ".wandb" for path in files)
    for name, secret in {"key": KEY, "password": PASSWORD, "value": VALUE, "netrc": NETRC}.items():
        assert secret not in outputs, name
        assert [path for path in files if secret.encode() in path.read_bytes()] == [], name


def calls(path: Path) -> Iterator[tuple[str, ast.Call]]:
    """The calls in a source file, by the dotted name of what is called."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


def test_checkpoints_are_loaded_as_plain_values_alone() -> None:
    loads = [(path, node) for path in SOURCES for name, node in calls(path) if name == "torch.load"]
    assert loads
    for path, node in loads:
        options = {option.arg: ast.unparse(option.value) for option in node.keywords}
        assert options.get("weights_only") == "True", f"{path}:{node.lineno}"


def test_weights_only_is_switched_off_nowhere() -> None:
    for path in SOURCES:
        for name, node in calls(path):
            options = {option.arg: ast.unparse(option.value) for option in node.keywords}
            assert options.get("weights_only", "True") in ("True", "True if path else None"), f"{path}:{node.lineno}"
            if name.endswith(("trainer.fit", "trainer.test", "trainer.validate", "trainer.predict")):
                assert "ckpt_path" not in options or "weights_only" in options, f"{path}:{node.lineno}"


def is_restricted(tree: ast.AST) -> bool:
    """Whether a file uses `Unpickler` as the base of a class that says which globals it knows, and for nothing else."""
    uses = [node for node in ast.walk(tree) if isinstance(node, ast.Name) and node.id == "Unpickler"]
    classes = [node for node in ast.walk(tree) if isinstance(node, ast.ClassDef) and set(uses) & set(node.bases)]
    methods = [{part.name for part in cls.body if isinstance(part, ast.FunctionDef)} for cls in classes]
    return len(uses) == len(classes) and all("find_class" in names for names in methods)


def test_nothing_is_pickled() -> None:
    picklers = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
    for path in SOURCES:
        tree = ast.parse(path.read_text())
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                assert not picklers & {name.name.split(".")[0] for name in node.names}, path
            if isinstance(node, ast.ImportFrom) and str(node.module).split(".")[0] in picklers:
                names = {name.name for name in node.names} - {"UnpicklingError"}  # to say that nothing was
                assert not names or (names == {"Unpickler"} and is_restricted(tree)), path
