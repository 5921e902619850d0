"""What users and editors see of the library: typed and documented functions, names that are said once, no circles."""

import ast
import re
from collections import defaultdict
from pathlib import Path

import pytest

LIBRARY = Path(__file__).parents[1] / "lib" / "fewbits"
PATHS = sorted(path for path in LIBRARY.rglob("*.py"))
MODULES = [path.relative_to(LIBRARY).with_suffix("").as_posix() for path in PATHS]
PACKAGES = sorted(path.parent for path in PATHS if path.name == "__init__.py" and path.parent != LIBRARY)
TREES = dict(zip(MODULES, (ast.parse(path.read_text()) for path in PATHS)))
each_module = pytest.mark.parametrize("module", MODULES)
each_package = pytest.mark.parametrize("package", PACKAGES, ids=lambda path: path.name)


def public_functions(tree):
    """Yield name and node of each public function of a module, and of each public method of its public classes."""
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
            yield node.name, node
        elif isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            for method in node.body:
                if isinstance(method, ast.FunctionDef) and not method.name.startswith("_"):
                    yield f"{node.name}.{method.name}", method


def parameters(function):
    """Return a function's parameters but `self` and `cls`."""
    given = function.args
    every = [*given.posonlyargs, *given.args, given.vararg, *given.kwonlyargs, given.kwarg]
    return [each for each in every if each is not None and each.arg not in ("self", "cls")]


@each_module
def test_every_public_function_is_fully_typed(module):
    lacking = []
    for name, function in public_functions(TREES[module]):
        lacking += [f"{name}({each.arg})" for each in parameters(function) if each.annotation is None]
        lacking += [f"{name}()"] if function.returns is None else []
    assert not lacking


@each_module
def test_every_field_of_a_public_class_is_typed(module):
    lacking = []
    for node in TREES[module].body:
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            for method in node.body:
                if isinstance(method, ast.FunctionDef) and method.name == "__init__":
                    lacking += [f"{node.name}({each.arg})" for each in parameters(method) if each.annotation is None]
    assert not lacking


@each_module
def test_every_public_function_of_several_arguments_names_each_of_them(module):
    lacking = []
    for name, function in public_functions(TREES[module]):
        if len(parameters(function)) >= 2:
            text = ast.get_docstring(function) or ""
            section = re.search(r"^Args:\n((?: .*\n|\n)*)", text + "\n", re.M)
            named = set(re.findall(r"^ +\*{0,2}(\w+)(?:, \*{0,2}\w+)*:", section[1], re.M)) if section else set()
            lacking += [f"{name}({each.arg})" for each in parameters(function) if each.arg not in named]
    assert not lacking


@each_package
def test_a_package_says_in_one_sentence_what_lives_there(package):
    text = ast.get_docstring(ast.parse((package / "__init__.py").read_text())) or ""
    assert re.fullmatch(r"[^.]+(\.\w[^.]*)*\.", text.split("\n\n")[0]), text


def imports(tree):
    """Yield the modules of the library that a module imports while it is itself imported."""
    for node in tree.body:  # not within functions, nor for the type checker alone
        if isinstance(node, ast.ImportFrom) and node.level == 0 and (node.module or "").split(".")[0] == "fewbits":
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.split(".")[0] == "fewbits")


def home(module):
    """Return the package in which a module is, or the module itself where it is in none."""
    return module.split("/")[0]


def test_no_package_imports_one_that_imports_it():
    graph = defaultdict(set)
    for module, tree in TREES.items():
        for name in imports(tree):
            target = home(name.removeprefix("fewbits").removeprefix(".").replace(".", "/"))
            if target in {home(each) for each in MODULES} and target not in ("", "__init__", home(module)):
                graph[home(module)].add(target)
    assert graph["quantization"] and graph["cli"]  # the reader of imports works
    assert circles(graph) == []


def circles(graph):
    """Return a circle through each package that imports itself by way of others."""
    found = []
    for start in sorted(graph):
        paths, seen = [[start]], set()
        while paths:
            path = paths.pop()
            for target in sorted(graph.get(path[-1], ())):
                if target == start:
                    found.append(" -> ".join([*path, start]))
                    paths = []
                    break
                if target not in seen:
                    seen.add(target)
                    paths.append([*path, target])
    return found


def test_circles_are_found():
    assert circles({"a": {"b"}, "b": {"c"}, "c": set()}) == []
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b -> c -> b", "c -> b -> c"]


def test_no_two_public_names_are_alike():
    homes = defaultdict(set)
    for module, tree in TREES.items():
        parts = module.split("/")
        if parts[-1] == "__main__":
            continue
        if parts[-1] == "__init__":
            homes[parts[-2] if len(parts) > 1 else "fewbits"].add(module)
            continue
        if parts[0] != "cli":  # a command's module is called as what it calls
            homes[parts[-1]].add(module)
        for node in tree.body:
            if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not node.name.startswith("_"):
                if parts[0] == "cli" and node.name in ("add", "run"):
                    continue
                if parts[0] == "book" and node.name == "setup":  # Sphinx finds an extension's entry by this name
                    continue
                homes[node.name].add(f"{module}.{node.name}")
    alike = {name: sorted(where) for name, where in homes.items() if len(where) > 1}
    assert not alike, alike
