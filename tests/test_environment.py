"""The environment: one lock, whichever tool installs it, and nothing in it of the machine that wrote it."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

ROOT = Path(__file__).parents[1]
LOCK = (ROOT / "requirements.lock").read_text()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PINS = {Requirement(line.rstrip(" \\")).name: line for line in LOCK.splitlines() if re.match(r"[a-z0-9]", line)}


def test_every_pin_has_a_hash():
    blocks = re.split(r"\n(?=[a-z0-9])", LOCK.split("\n", 2)[2])
    assert len(blocks) == len(re.findall(r"^[a-z0-9].*==", LOCK, re.M))
    assert all("--hash=sha256:" in block for block in blocks)


def test_every_dependency_is_pinned_within_its_range():
    wanted = [*PROJECT["dependencies"], *(d for extra in PROJECT["optional-dependencies"].values() for d in extra)]
    for requirement in map(Requirement, wanted):
        if requirement.name == "fewbits":
            continue
        pinned = re.search(r"==([^ ;\\]+)", PINS[requirement.name])[1]
        assert requirement.specifier.contains(pinned), requirement


def test_tensorflow_is_the_small_wheel_where_there_is_one():
    assert (
        "sys_platform == 'linux'" in PINS["tensorflow-cpu"] and "platform_machine == 'x86_64'" in PINS["tensorflow-cpu"]
    )
    assert "platform_machine != 'x86_64'" in PINS["tensorflow"]


def test_tracked_text_names_no_index_and_no_home():
    files = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True)
    if files.returncode:
        pytest.skip("not a git checkout")
    for name in filter(None, files.stdout.split("\0")):
        text = (ROOT / name).read_bytes()
        if name != "tests/test_environment.py":
            assert not re.search(rb"--(extra-)?index-url|/home/\w+/|/root/", text), name


def test_conda_installs_the_same_lock_under_the_same_pythons():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    pip = next(d["pip"] for d in environment["dependencies"] if isinstance(d, dict))
    assert pip == ["--requirement requirements.lock"]
    python = next(d for d in environment["dependencies"] if str(d).startswith("python="))
    assert SpecifierSet(PROJECT["requires-python"]).contains(python.removeprefix("python=") + ".0")
    assert {"python", "pip"} >= {re.match(r"\w+", str(d))[0] for d in environment["dependencies"] if isinstance(d, str)}


def test_the_core_is_light():
    light = {"keras", "lazy-loader", "numpy", "pydantic", "scipy", "tqdm"}
    assert {Requirement(dependency).name for dependency in PROJECT["dependencies"]} <= light


@pytest.mark.parametrize("check", [["check"], ["format", "--check"]])
def test_the_style_is_the_one_agreed_on(check):
    done = subprocess.run(
        [sys.executable, "-m", "ruff", *check, "lib", "tests"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout
