"""Examples hold to the types that the library states, as strictly as the library itself."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PLACES = {
    "library": ["examples/library", "examples/users/developer.py", "examples/coco_export.py"],
    "plug-in": ["examples/facefusion-sample-plugin/src/facefusion_sample"],
    "nodes": ["examples/comfyui-facefusion/facefusion_comfyui"],
}


@pytest.mark.parametrize("place", PLACES)
def test_examples_hold_to_the_types(tmp_path, place):
    pytest.importorskip("mypy")
    pytest.importorskip("fastapi")
    config = tmp_path / "mypy.ini"  # PyTorch is not among what FaceFusion needs
    config.write_text("[mypy]\nstrict = True\n[mypy-torch.*,onnxruntime.*]\nignore_missing_imports = True\n")
    command = [sys.executable, "-m", "mypy", "--config-file", str(config), "--cache-dir", str(tmp_path / "cache")]
    paths = [ROOT / "src", *((ROOT / PLACES[place][0]).parent,) * (place != "library")]
    environment = {**os.environ, "MYPYPATH": os.pathsep.join(map(str, paths))}
    found = subprocess.run(
        [*command, "--follow-imports=silent", "--explicit-package-bases", *(str(ROOT / one) for one in PLACES[place])],
        env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    assert found.returncode == 0, found.stdout + found.stderr
