# ruff: noqa: E501 - a case is a line
"""The source of what a notebook defines: it runs elsewhere, and means the same."""

from __future__ import annotations

import linecache
import math
import re
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest

from lit_dl.errors import ConfigError
from sweeps.definitions.notebook_code import NotebookCode


class Notebook:
    """Runs cells as IPython does: in one namespace, each with its source in `linecache`."""

    def __init__(self) -> None:
        self.names: dict[str, Any] = {"__name__": "__main__", "In": [""]}

    def run(self, cell: str) -> None:
        name = f"<cell {id(self)} {len(self.names['In'])}>"
        self.names["In"].append(cell)
        cell = re.sub(r"^%.*$", "", cell, flags=re.MULTILINE)
        linecache.cache[name] = (len(cell), None, cell.splitlines(keepends=True), name)
        exec(compile(cell, name, "exec"), self.names)

    def code(self, *names: str) -> str:
        code = NotebookCode(self.names)
        for name in names:
            code.add("model", name)
        return code.text()

    def elsewhere(self, *names: str) -> ModuleType:
        """What another process gets."""
        module = ModuleType("elsewhere")
        sys.modules[module.__name__] = module  # where `dataclass` looks up annotations
        exec(compile(self.code(*names), "<elsewhere>", "exec"), vars(module))
        return module


@pytest.fixture
def notebook() -> Iterator[Notebook]:
    yield Notebook()
    sys.modules.pop("elsewhere", None)
    for name in [name for name in linecache.cache if name.startswith("<cell ")]:
        del linecache.cache[name]


def test_a_class_comes_with_all_that_it_uses_and_nothing_else(notebook: Notebook) -> None:
    notebook.run(
        "import math as m\nfrom collections import OrderedDict as Ordered\nUNUSED = open\nWIDTH, RATES = 3, [1, 2]"
    )
    notebook.run("def area(r):\n    return m.pi * r**2\n\nclass Base:\n    size = WIDTH")
    notebook.run("class Net(Base):\n    def run(self):\n        return area(self.size), Ordered(a=RATES)\n")
    found = notebook.elsewhere("Net")
    assert found.Net().run() == (math.pi * 9, {"a": [1, 2]})
    assert {name for name in vars(found) if not name.startswith("__")} == {
        "m", "Ordered", "WIDTH", "RATES", "area", "Base", "Net"
    }  # fmt: skip


def test_values_and_definitions_are_those_of_now(notebook: Notebook) -> None:
    notebook.run("N = 1\nclass Net:\n    def run(self): return 'old'")
    notebook.run("N = 2\nclass Net:\n    def run(self): return f'new {N}'")
    notebook.run("N = 3")
    assert notebook.elsewhere("Net").Net().run() == "new 3"


def test_a_local_name_is_not_a_name_of_the_notebook(notebook: Notebook) -> None:
    notebook.run(
        "data, model = open, open\nclass Net:\n    def run(self, data):\n        model = data\n        return model"
    )
    assert "open" not in notebook.code("Net")


@pytest.mark.parametrize(
    ("cell", "expression", "value"),
    [
        ("from dataclasses import dataclass\n\n@dataclass\nclass Net:\n    lr: float = 0.5", "Net().lr", 0.5),
        ("%matplotlib inline\nfrom enum import Enum\nclass Net(Enum):\n    A = 1", "Net.A.value", 1),
        ("class Net:\n    @staticmethod\n    def make(): return 7", "Net.make()", 7),
        ("class Net:\n    @property\n    def seven(self): return 7", "Net().seven", 7),
        ("import functools\ndef twice(f):\n    @functools.wraps(f)\n    def g(): return 2 * f()\n    return g\n\n@twice\ndef one(): return 1\n\nclass Net:\n    n = one()", "Net.n", 2),
        ("import functools\n@functools.cache\ndef one(): return 1\nclass Net:\n    def n(self): return one()", "Net().n()", 1),
        ("from pathlib import Path\nHERE = Path('a') / 'b'\nclass Net:\n    h = HERE", "str(Net.h)", "a/b"),
        ("def even(n): return n == 0 or odd(n - 1)\ndef odd(n): return n > 0 and even(n - 1)\nNet = even", "Net(4)", True),
        ("class Node:\n    def make(self): return Net()\nclass Net(Node):\n    pass", "type(Net().make()).__name__", "Net"),
        ("class Net:\n    class Inner:\n        def n(self): return 3", "Net.Inner().n()", 3),
        ("from __future__ import annotations\nclass Net:\n    def n(self, x: Later = 3): return x", "Net().n()", 3),
        ("from torch import tanh\nclass Net:\n    f = staticmethod(tanh)", "Net.f.__name__", "tanh"),
        (
            "from lightning.pytorch.cli import OptimizerCallable\ndef net(o: OptimizerCallable): ...\nNet = net",
            "'OptimizerCallable' in str(Net.__annotations__) or 'Callable' in str(Net.__annotations__)",
            True,
        ),
    ],
)  # fmt: skip
def test_definitions_of_all_kinds(notebook: Notebook, cell: str, expression: str, value: Any) -> None:
    notebook.run(cell)
    assert eval(expression, vars(notebook.elsewhere("Net"))) == value


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        ("import torch\ndata = torch.ones(3)\nclass Net:\n    def n(self): return data", "Net uses data of the notebook, a Tensor"),
        ("net = lambda: 1\nclass Net:\n    def n(self): return net()", "the source of net is not found in the notebook"),
        ("class Net: pass\nfirst = Net()\nclass Net:\n    n = first", "Net uses first of the notebook, a Net"),
        ("class A:\n    def n(self): pass\nB = A\nclass A: pass\nclass Net(B): pass", "the source of B is not found"),
    ],
)  # fmt: skip
def test_what_has_no_source_is_an_error_that_names_it(notebook: Notebook, cell: str, message: str) -> None:
    notebook.run(cell)
    with pytest.raises(ConfigError, match=message) as error:
        notebook.code("Net")
    assert error.value.key == "model"


def test_a_notebook_is_no_module_under_another_name_either(notebook: Notebook, monkeypatch: pytest.MonkeyPatch) -> None:
    """As Jupyter's kernel has it: `sys.modules["__mp_main__"]` is the notebook."""
    notebook.run("data = object()\nclass Net:\n    def n(self): return data")
    alias = ModuleType("__main__")
    vars(alias).update(notebook.names)
    monkeypatch.setitem(sys.modules, "__mp_main__", alias)
    with pytest.raises(ConfigError, match="Net uses data of the notebook"):
        notebook.code("Net")
