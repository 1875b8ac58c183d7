"""The house stays as small as it is meant to be: functions, modules and folders."""

from pathlib import Path

from radon.complexity import cc_visit

from support.paths import HANDLERS, REPOSITORY

MOST_COMPLEX = 15
LONGEST_MODULE_LINES = 300
MOST_MODULES_OF_A_FOLDER = 18
LONGEST_SCRIPT_LINES = 20

PACKAGE = HANDLERS / "lictor"
SCRIPTS = sorted(HANDLERS.glob("lictor-*"))
ROOMS = {"adapters", "cli", "clusters", "engines", "events", "planner", "reconcile", "registrar", "routing", "spec"}


def modules(*folders: Path) -> list[Path]:
    return sorted(path for folder in folders for path in folder.rglob("*.py"))


def lines(path: Path) -> int:
    return len(path.read_text(encoding="utf-8").splitlines())


def test_no_function_is_too_complex() -> None:
    found = {f"{path.relative_to(REPOSITORY)}: {block.fullname}": block.complexity
             for path in [*modules(HANDLERS, REPOSITORY / "lab"), *SCRIPTS]
             for block in cc_visit(path.read_text(encoding="utf-8")) if block.letter in "FM"}
    assert {name: complexity for name, complexity in found.items() if complexity > MOST_COMPLEX} == {}


def test_modules_and_folders_are_of_a_size_to_read() -> None:
    sizes = {path: lines(path) for path in [*modules(HANDLERS), *SCRIPTS]}
    assert {str(path): size for path, size in sizes.items() if size > LONGEST_MODULE_LINES} == {}
    folders = [path for path in PACKAGE.rglob("*") if path.is_dir() and path.name != "__pycache__"]
    counts = {str(each): len([path for path in each.glob("*.py") if path.name != "__init__.py"]) for each in folders}
    assert {folder: count for folder, count in counts.items() if count > MOST_MODULES_OF_A_FOLDER} == {}


def test_the_package_is_its_rooms_and_a_script_is_one_call() -> None:
    assert {path.name for path in PACKAGE.iterdir() if path.is_dir()} - {"__pycache__"} == ROOMS
    assert {path.name for path in PACKAGE.iterdir() if path.is_file()} == {
        "__init__.py", "errors.py", "model.py", "py.typed"}
    assert len(SCRIPTS) == 7
    code = [line for path in SCRIPTS for line in path.read_text(encoding="utf-8").rpartition('"""')[2].splitlines()]
    assert len([line for line in code if line]) == 2 * len(SCRIPTS)
