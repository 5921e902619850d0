"""A lab: a notebook with gaps, its checks, and the solutions that fill the gaps.

A gap is a function of the script whose body, besides its docstring, is `...`. The file of solutions holds one function
for each gap, and the imports that they need; the lab has them too.
"""

import ast
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fewbits.book.chapter import Chapter
from fewbits.errors import InputError
from fewbits.labs.checking import GapOpen


@dataclass(frozen=True)
class Lab(Chapter):
    """A lab of a chapter, `notebooks/labs/NN-topic.py`, paired with an .ipynb as chapters are."""

    @property
    def script(self) -> Path:
        """The percent script with gaps."""
        return self.root / "notebooks" / "labs" / f"{self.name}.py"

    @property
    def solution(self) -> Path:
        """The functions that fill the gaps."""
        return self.script.parent / "solutions" / self.script.name

    def gaps(self) -> list[str]:
        """Return the names of the functions to fill, in order."""
        return [function.name for function in _functions(self.script) if _is_gap(function)]

    def rehearse(self) -> list[str]:
        """Run the lab, and fill a gap only when a check says that it is open.

        Returns:
            The names of the gaps in the order in which checks found them open.

        Raises:
            InputError: when the solutions are not those of the gaps, or one of them does not pass.
        """
        solutions = {function.name: function for function in _functions(self.solution)}
        if list(solutions) != self.gaps():
            raise InputError(
                f"{self.solution} must hold the functions {', '.join(self.gaps())}, in this order, and no other"
            )
        namespace: dict[str, Any] = {"__name__": "lab"}
        found: list[str] = []
        for statement in _statements(self.script):
            try:
                _execute(statement, self.script, namespace)
            except GapOpen as error:
                found.append(error.gap)
                _execute(solutions[error.gap], self.solution, namespace)
                _execute(statement, self.script, namespace)
        return found


def find_labs(root: Path) -> list[Lab]:
    """Find the labs of a book.

    Args:
        root: The top folder of the book.

    Returns:
        The labs in order.
    """
    return [Lab(root, path.stem) for path in sorted((root / "notebooks" / "labs").glob("[0-9][0-9]-*.py"))]


def _statements(path: Path) -> list[ast.stmt]:
    """Return the top-level statements of a script."""
    return ast.parse(path.read_text(), str(path)).body


def _functions(path: Path) -> list[ast.FunctionDef]:
    """Return the top-level functions of a script."""
    return [statement for statement in _statements(path) if isinstance(statement, ast.FunctionDef)]


def _is_gap(function: ast.FunctionDef) -> bool:
    """Return whether the body of a function is a docstring, if any, and `...`."""
    body = function.body[1:] if ast.get_docstring(function) else function.body
    return len(body) == 1 and isinstance(body[0], ast.Expr) and getattr(body[0].value, "value", None) is ...


def _execute(statement: ast.stmt, path: Path, namespace: dict[str, Any]) -> None:
    """Execute a top-level statement of a script."""
    exec(compile(ast.Module([statement], []), str(path), "exec"), namespace)
