"""What an installation holds, and that it can be imported where there is no POSIX."""

from __future__ import annotations

import json
import subprocess
import sys
from configparser import ConfigParser
from pathlib import Path
from zipfile import ZipFile

import pytest

ROOT = Path(__file__).resolve().parents[1]
CODE = ("rig", "stages", "stimuli", "hardware")

IMPORT_EVERYTHING_AS_ON_WINDOWS = """
import builtins, importlib, json, pkgutil, sys

CODE = tuple(json.loads(sys.argv[1]))
POSIX_ONLY = {"curses", "fcntl", "grp", "pty", "pwd", "readline", "resource", "syslog", "termios", "tty"}
import_anything = builtins.__import__

def import_as_on_windows(name, globals=None, locals=None, fromlist=(), level=0):
    importer = (globals or {}).get("__name__", "")
    if level == 0 and name.partition(".")[0] in POSIX_ONLY and importer.partition(".")[0] in CODE:
        raise ModuleNotFoundError(f"{importer} imports {name}, which Windows does not have", name=name)
    return import_anything(name, globals, locals, fromlist, level)

builtins.__import__ = import_as_on_windows
imported, failed = [], {}

def remember(name):
    failed[name] = repr(sys.exc_info()[1])

for package in CODE:
    names = [package]
    names += [found.name for found in pkgutil.walk_packages([package], package + ".", onerror=remember)]
    for name in names:
        try:
            importlib.import_module(name)
        except Exception:
            remember(name)
        else:
            imported.append(name)
json.dump({"imported": imported, "failed": failed}, sys.stdout)
"""
"""Only our own imports are looked at: what the standard library and others import is theirs to choose by platform."""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)]
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    (path,) = folder.glob("*.whl")
    return path


def files_in(wheel: Path) -> set[str]:
    with ZipFile(wheel) as archive:
        return set(archive.namelist())


@pytest.mark.parametrize("package", [*CODE, "configs"])
def test_the_wheel_holds_every_module_of_each_package(wheel: Path, package: str) -> None:
    modules = {path.relative_to(ROOT).as_posix() for path in (ROOT / package).rglob("*.py")}
    assert f"{package}/__init__.py" in modules
    assert modules <= files_in(wheel)


def test_the_wheel_holds_every_shipped_configuration(wheel: Path) -> None:
    shipped = {path.relative_to(ROOT).as_posix() for path in (ROOT / "configs").rglob("*.yaml")}
    assert shipped
    assert shipped <= files_in(wheel)


def test_the_wheel_holds_every_stand_in_with_its_manifest(wheel: Path) -> None:
    folder = ROOT / "stimuli" / "pictures" / "stand_ins"
    shipped = {path.relative_to(ROOT).as_posix() for path in folder.rglob("*") if path.suffix in (".json", ".png")}
    assert len(shipped) == 4 * (8 + 1)
    assert shipped <= files_in(wheel)


def test_the_wheel_says_that_its_packages_are_typed(wheel: Path) -> None:
    assert {f"{package}/py.typed" for package in CODE} <= files_in(wheel)


def test_the_wheel_holds_the_licence_and_no_tests(wheel: Path) -> None:
    files = files_in(wheel)
    assert any(name.endswith("licenses/LICENSE") for name in files)
    assert {name.partition("/")[0] for name in files if ".dist-info/" not in name} == {*CODE, "configs"}


def test_the_wheel_makes_the_command_rig(wheel: Path) -> None:
    with ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/entry_points.txt"))
        entry_points = ConfigParser()
        entry_points.read_string(archive.read(name).decode())
    assert dict(entry_points["console_scripts"]) == {"rig": "rig.cli:main"}
    assert "rig/cli.py" in files_in(wheel)


def test_every_module_can_be_imported_without_the_modules_that_only_posix_has() -> None:
    command = [sys.executable, "-c", IMPORT_EVERYTHING_AS_ON_WINDOWS, json.dumps(CODE)]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    told = json.loads(run.stdout)
    assert told["failed"] == {}
    assert set(CODE) <= set(told["imported"])
    assert len(told["imported"]) > 4 * len(CODE)
