"""Who may import whom, counted with the imports in functions and those for types alone."""

import ast
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def read_modules(source):
    """Syntax trees of all modules of a package, by name."""
    found = {}
    for path in sorted(source.rglob("*.py")):
        name = ".".join(path.relative_to(source.parent).with_suffix("").parts).removesuffix(".__init__")
        found[name] = ast.parse(path.read_text(encoding="utf-8"))
    return found


def find_arrows(modules):
    """What every module imports of the same package, wherever in the module that is said."""
    arrows = {name: set() for name in modules}
    for name, tree in modules.items():
        for node in ast.walk(tree):
            named = []
            if isinstance(node, ast.Import):
                named = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{name}: imports are written in full"
                named = [
                    full if (full := f"{node.module}.{alias.name}") in modules else str(node.module)
                    for alias in node.names
                ]
            elif isinstance(node, ast.Call) and getattr(node.func, "attr", getattr(node.func, "id", "")) in (
                "import_module",
                "__import__",
            ):
                named = [word.value for word in node.args if isinstance(word, ast.Constant)]
            arrows[name].update(other for other in named if other in modules and other != name)
    return arrows


def find_circles(arrows):
    """Modules that can be reached from themselves."""

    def reach(name):
        seen, waiting = set(), list(arrows[name])
        while waiting:
            one = waiting.pop()
            if one not in seen:
                seen.add(one)
                waiting += arrows[one]
        return seen

    return sorted(name for name in arrows if name in reach(name))


def find_arrows_up(arrows, layers):
    """Arrows to a room above, or to one beside that must not be known."""
    place = {}
    for level, line in enumerate(layers):
        for room in line.replace("|", ":").split(":"):
            place[room.strip()] = level, "|" in line

    def home(module):
        return next((room for room in place if module == room or module.startswith(f"{room}.")), None)

    wrong = []
    for name, others in arrows.items():
        for other in sorted(others):
            one, two = home(name), home(other)
            if one is None or two is None or one == two:
                continue
            (level, is_blind), (below, _) = place[one], place[two]
            if below < level or (below == level and is_blind):
                wrong.append(f"{name} -> {other}")
    return wrong


@pytest.fixture(scope="module")
def arrows():
    return find_arrows(read_modules(ROOT / "src/facefusion"))


@pytest.fixture(scope="module")
def project():
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]


def test_nobody_imports_in_a_circle(arrows):
    assert find_circles(arrows) == []


def test_no_arrow_runs_up(arrows, project):
    (layers,) = [contract["layers"] for contract in project["contracts"] if contract["type"] == "layers"]
    assert find_arrows_up(arrows, layers) == []
    rooms = {room.strip() for line in layers for room in line.replace("|", ":").split(":")}
    tops = {".".join(name.split(".")[:2]) for name in arrows}
    assert tops - rooms == {"facefusion", "facefusion.__main__"}, "every room has its place"


def test_only_the_doors_read_settings(arrows):
    readers = {name for name, others in arrows.items() if "facefusion.settings" in others}
    assert all(name.startswith("facefusion.apps.") for name in readers)
    assert readers


def test_the_linter_counts_imports_for_types_too(project):
    assert project["exclude_type_checking_imports"] is False


def test_circles_and_arrows_up_are_seen_however_they_are_hidden(tmp_path):
    house = tmp_path / "house"
    (house / "top").mkdir(parents=True)
    (house / "below").mkdir()
    for name in ("", "top", "below"):
        (house / name / "__init__.py").write_text("")
    (house / "top" / "door.py").write_text("from house.below import floor\n")
    floor = house / "below" / "floor.py"
    layers = ["house.top", "house.below"]
    for hidden in (
        "def f():\n    from house.top import door\n",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from house.top.door import x\n",
        "import importlib\nimportlib.import_module('house.top.door')\n",
        "def f():\n    import house.top.door\n",
    ):
        floor.write_text(hidden)
        found = find_arrows(read_modules(house))
        assert find_circles(found) == ["house.below.floor", "house.top.door"]
        assert find_arrows_up(found, layers) == ["house.below.floor -> house.top.door"]
    floor.write_text("")
    found = find_arrows(read_modules(house))
    assert find_circles(found) == find_arrows_up(found, layers) == []
    # Rooms side by side that are to be blind to each other.
    assert find_arrows_up(found, ["house.top | house.below"]) == ["house.top.door -> house.below.floor"]
    assert find_arrows_up(found, ["house.top : house.below"]) == []
