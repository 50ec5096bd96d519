"""The source of what a notebook defines, as a module that other processes import.

Only what the classes use is in it: each name that they use is looked up in the notebook, where it has its value of now.
A class or a function becomes its source, anything that can be imported an import, a plain value its text. Nothing is
pickled, and the file stays in the run folder, so a trial can be repeated after the notebook is gone.
"""

from __future__ import annotations
import __future__

import ast
import inspect
import linecache
import re
import symtable
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePath
from textwrap import dedent
from types import ModuleType
from typing import Any

from lit_dl.errors import ConfigError
from lit_dl.files import write_text

NOTEBOOK_CODE = "notebook_code"
"""Name of the module."""

_HEADER = '"""What the trials use of the notebook that launched the sweep; written by sweeps.launch."""\n\n'
_FUTURE = "from __future__ import annotations\n\n"


class NotebookCode:
    """Collects the source of names that a notebook defines, and of all that these use.

    Args:
        namespace: The names of the notebook, with their values.
    """

    def __init__(self, namespace: Mapping[str, Any]) -> None:
        self._namespace = namespace
        self._imports: set[str] = set()
        self._statements: list[str] = []  # each after those that it uses
        self._begun: set[str] = set()

    def add(self, key: str, name: str) -> None:
        """Adds a name and what it uses.

        Args:
            key: Dotted key of the spec, for errors.
            name: A name of the notebook.

        Raises:
            ConfigError: It uses an object that has no text.
        """
        self._add(key, name, name)

    def text(self) -> str:
        """Returns the source of the module."""
        has_future = self._namespace.get("annotations") is __future__.annotations
        imports = "".join(f"{statement}\n" for statement in sorted(self._imports))
        return _HEADER + (_FUTURE if has_future else "") + imports + "".join(f"\n\n{s}\n" for s in self._statements)

    def _add(self, key: str, name: str, user: str) -> None:
        if name in self._begun:
            return
        self._begun.add(name)
        value = self._namespace[name]
        if getattr(value, "__module__", None) == "__main__" and hasattr(value, "__qualname__"):
            self._add_definition(key, name, value)
        elif _is_plain(value):
            self._statements.append(f"{name} = {value!r}")
        elif isinstance(value, PurePath):
            self._imports.add("import pathlib")
            self._statements.append(f"{name} = pathlib.Path({str(value)!r})")
        elif (statement := _import_of(name, value)) is not None:
            self._imports.add(statement)
        else:
            raise ConfigError(
                key,
                f"{user} uses {name} of the notebook, a {type(value).__name__}, which no other process has; make it "
                f"inside of {user}, or define both in a module",
            )

    def _add_definition(self, key: str, name: str, value: Any) -> None:
        own_name = value.__name__
        source = _source(value, self._namespace) if self._namespace.get(own_name) is value else None
        if source is None:
            raise ConfigError(key, f"the source of {name} is not found in the notebook; define it in a module")
        if own_name != name:
            self._add(key, own_name, name)
            self._statements.append(f"{name} = {own_name}")
            return
        for used in _global_names(source):
            if used in self._namespace and not used.startswith("__"):
                self._add(key, used, name)
        self._statements.append(source)


def write_code(folder: Path, text: str) -> None:
    """Writes the module `notebook_code` into a folder."""
    write_text(folder / f"{NOTEBOOK_CODE}.py", text)


def add_to_path(run_dir: Path) -> None:
    """Lets this process import what a notebook defined for the sweep in a run folder, if there was a notebook."""
    folder = str(run_dir.absolute())
    if folder not in sys.path and (run_dir / f"{NOTEBOOK_CODE}.py").is_file():
        sys.path.insert(0, folder)


def _is_plain(value: Any) -> bool:
    """Whether a value is what its text says, such as a number, a text, or a list of them."""
    try:
        return bool(ast.literal_eval(repr(value)) == value)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return False


def _import_of(name: str, value: Any) -> str | None:
    """Returns the statement that imports a module or an object of one; `None` if no module has it."""
    if isinstance(value, ModuleType):
        return f"import {value.__name__}" + (f" as {name}" if value.__name__ != name else "")
    own_name = getattr(value, "__name__", name)
    module = public_module(getattr(value, "__module__", None), own_name, value)
    if module is not None:
        return f"from {module} import {own_name}" + (f" as {name}" if own_name != name else "")
    # A type alias or a function of an extension module does not say where it is from.
    for other, loaded in list(sys.modules.items()):
        is_own = getattr(loaded, "__name__", None) in ("__main__", NOTEBOOK_CODE)  # under whichever name
        if not is_own and getattr(loaded, "__dict__", {}).get(name) is value:
            return f"from {other} import {name}"
    return None


def public_module(module: str | None, name: str, value: Any) -> str | None:
    """Returns the module of an object, or the shortest package around it that has the object too; `None`: neither has.

    `Tanh` is in `torch.nn`, although it says `torch.nn.modules.activation`.
    """
    parts = module.split(".") if isinstance(module, str) and module != "__main__" else []
    modules = (".".join(parts[:length]) for length in range(1, len(parts) + 1))
    return next((found for found in modules if attribute(sys.modules.get(found), name) == value), None)


def attribute(owner: ModuleType | None, name: str) -> Any:
    """Returns an attribute of a module by its dotted name; `None` if there is none."""
    found: Any = owner
    for part in name.split("."):
        found = getattr(found, part, None)
    return found


# Sources


def _global_names(source: str) -> Iterator[str]:
    """Yields the names that a definition uses and does not define itself."""
    tables = [symtable.symtable(source, "<notebook>", "exec")]
    while tables:
        table = tables.pop()
        tables += table.get_children()
        for symbol in table.get_symbols():
            if symbol.is_referenced() and (symbol.is_global() or table.get_type() == "module"):
                yield symbol.get_name()


def _source(value: Any, namespace: Mapping[str, Any]) -> str | None:
    """Returns the source of a class or function with its decorators; `None` if it is not known."""
    parts = vars(value).values() if isinstance(value, type) else [value]
    for part in parts:
        code = getattr(inspect.unwrap(getattr(part, "__func__", getattr(part, "fget", part))), "__code__", None)
        text = "".join(linecache.getlines(code.co_filename)) if code is not None else ""
        if source := _definition(text, value.__name__, code.co_firstlineno if code is not None else 0):
            return source
    # A class without functions of its own does not say where it is from. It is the last of its name in the cells.
    cells = (re.sub(r"^[%!].*$", "", cell, flags=re.MULTILINE) for cell in reversed(namespace.get("In", [])))
    return next(filter(None, (_definition(cell, value.__name__) for cell in cells)), None)


def _definition(text: str, name: str, line: int | None = None) -> str | None:
    """Returns the last top-level definition of a name in a text; with a line, the one that this line is in."""
    try:
        nodes = ast.parse(text).body
    except SyntaxError:  # a cell with magics
        return None
    for node in reversed(nodes):
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and node.name == name:
            first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
            if line is None or first <= line <= (node.end_lineno or first):
                return dedent("\n".join(text.splitlines()[first - 1 : node.end_lineno]))
    return None
