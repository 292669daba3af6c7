"""Nothing that we load tells anybody of this machine, or leaves an id of it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.patience import PATIENCE_S

from facefusion.testing.fakes import sample_path

SWAP = """
from PIL import Image
from facefusion import Swapper
Swapper({source!r}).swap(Image.open({target!r}))
"""


def files_after(folder: Path, words: list[str]) -> set[str]:
    """What a command leaves in a home, and in a folder for temporary files, that are new."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("XDG_", "ORT_", "FACEFUSION_"))}
    places = {name: str(folder / name) for name in ("HOME", "TMPDIR")}
    for place in places.values():
        Path(place).mkdir()
    done = subprocess.run(
        [sys.executable, *words], env={**kept, **places}, capture_output=True, text=True, timeout=PATIENCE_S
    )
    assert done.returncode == 0, done.stderr
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("words", [["models", "list"], ["doctor"]])
def test_a_command_leaves_no_id_of_the_machine(tmp_path, words):
    found = files_after(tmp_path, ["-m", "facefusion", *words])
    assert all(name.startswith("HOME/.local/state/facefusion/") for name in found), found


def test_a_swap_in_memory_leaves_nothing_but_our_own(tmp_path):
    paths = {name: str(sample_path(f"{name}.jpg")) for name in ("source", "target")}
    found = files_after(tmp_path, ["-c", SWAP.format(**paths)])
    assert all(name.startswith("HOME/.local/share/facefusion/") for name in found), found


def test_the_library_that_would_tell_is_told_not_to_before_it_is_loaded():
    """Whatever is imported first: of all modules of the package, the package itself comes first."""
    code = (
        "import os; os.environ.pop('ORT_DISABLE_TELEMETRY', None); import facefusion.models.session; import onnxruntime"
    )
    code += "; print(os.environ['ORT_DISABLE_TELEMETRY'])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=PATIENCE_S, check=True)
    assert done.stdout.split() == ["1"]
