"""Take out of the image what no command of FaceFusion reads, and compile what they load. Run by its Python, once."""

from __future__ import annotations

import importlib
import os
import pkgutil
import py_compile
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(sys.prefix)
PROGRAM = ROOT / "bin" / "facefusion"
SITE = next((ROOT / "lib").glob("python3*")) / "site-packages"
UNREAD = (
    "*/tests", "*/test", "*/*/tests", "*/*/*/tests", "onnx/backend/test", "matplotlib/mpl-data/sample_data",
    "numpy/_core/include", "numpy/_core/lib", "numpy/f2py", "onnxruntime/tools", "onnxruntime/transformers",
    "onnxruntime/quantization", "matplotlib/mpl-data/fonts/afm", "matplotlib/mpl-data/fonts/pdfcorefonts",
    "sqlalchemy/testing", "alembic/testing", "numpy/distutils", "onnx/reference",
)  # fmt: skip
FONTS = ("DejaVuSerif.ttf", "DejaVuSerif-*.ttf", "DejaVuSansMono-*.ttf")
"""Of matplotlib's fonts those that neither plots nor formulas are set in unless somebody asks."""
FILES = ("numpy/_core/_simd.*", "wcwidth/_wcwidth_c.*")
"""For tests of NumPy, and to measure faster how broad words are on a terminal."""
KINDS = ("*.pyi", "*.pxd", "*.pyx", "*.h", "*.hpp", "*.c", "*.cc", "*.cpp", "*.a", "*.proto", "*.rlib", "*.d")


def remove() -> None:
    """Tests, headers, stubs."""
    for pattern in UNREAD:
        for path in SITE.glob(pattern):
            if path.is_dir() and "facefusion" not in path.relative_to(SITE).parts[0]:
                shutil.rmtree(path)
    for pattern in KINDS:
        for path in SITE.rglob(pattern):
            if not path.relative_to(SITE).parts[0].startswith("facefusion"):
                path.unlink()
    for pattern in (*FILES, *(f"matplotlib/mpl-data/fonts/ttf/{name}" for name in FONTS)):
        for path in SITE.glob(pattern):
            path.unlink()
    (ROOT / "bin" / "celery").unlink(missing_ok=True)
    for path in SITE.rglob("__pycache__"):
        shutil.rmtree(path, ignore_errors=True)


def remove_second_runtime() -> None:
    """ONNX Runtime's wheel has its library twice: in Python's extension, and for programs that are not Python's."""
    folder = SITE / "onnxruntime" / "capi"
    words = ["readelf", "-dW", *folder.glob("*.so*")]
    asked = subprocess.run(words, check=True, capture_output=True, text=True).stdout
    # One that another library asks for would stay.
    if not re.search(r"\(NEEDED\).*\[libonnxruntime\.so", asked):
        for path in folder.glob("libonnxruntime.so*"):
            path.unlink()


def strip() -> None:
    """Take symbols for debuggers out of extensions; not out of libraries that wheels bring, which were moved about."""
    for path in SITE.rglob("*.so"):
        if ".libs" not in path.relative_to(SITE).parts[0]:
            subprocess.run(["strip", "--strip-unneeded", path], check=True)


def use() -> None:
    """Load all rooms, and change a face: what is compiled then is what commands need."""
    import facefusion

    for module in pkgutil.walk_packages(facefusion.__path__, "facefusion."):
        if ".migrations." not in module.name and not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    importlib.import_module("celery.bin.celery")  # workers load it when they begin
    from facefusion.testing.fakes import sample_path

    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "HOME": folder, "XDG_DATA_HOME": folder, "XDG_STATE_HOME": folder}
        files = ["--source", str(sample_path("source.jpg")), "--target", str(sample_path("target.jpg"))]
        words = [*files, "--output", f"{folder}/out.png", "--execution-providers", "cpu", "--quiet"]
        words += ["--report", f"{folder}/out.html"]
        # Weights that are missing, libraries that do not load: better now than in the hands of others.
        subprocess.run([PROGRAM, *words], env=environment, check=True)
        subprocess.run([PROGRAM, "keys", "list"], env=environment, check=True)


def compile_used() -> None:
    """What was loaded, compiled so that no clock of a file matters."""
    for cached in [path for path in SITE.rglob("*.pyc") if path.parent.name == "__pycache__"]:
        source = cached.parent.parent / f"{cached.name.split('.')[0]}.py"
        cached.unlink()
        if source.is_file():
            py_compile.compile(
                str(source), doraise=True, invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH
            )


if __name__ == "__main__":
    remove()
    remove_second_runtime()
    strip()
    use()
    compile_used()
