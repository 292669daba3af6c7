"""Take video, AV1 and a second OpenBLAS out of OpenCV's wheel; what it computes stays as it is. Run by its Python, once.

FaceFusion reads and writes video with PyAV and calls none of this. OpenCV built anew without it lacks Intel's IPP, which
is no part of its source: floats are scaled two to three times as slowly, `seamlessClone` nine, and results differ.
"""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
import sys
import tempfile
from pathlib import Path

SITE = next((Path(sys.prefix) / "lib").glob("python3*")) / "site-packages"
CV2 = SITE / "cv2" / "cv2.abi3.so"
LIBS = SITE / "opencv_python_headless.libs"
GONE = ("libavcodec-", "libavformat-", "libavutil-", "libswscale-", "libaom-")
FAILING = re.compile(r"aom_codec_(dec_init|enc_init|enc_config)")
"""What libavif asks first: an error there makes AVIF a kind that OpenCV cannot read, and nothing more is called."""
STAND_IN = """#include <stdio.h>
#include <stdlib.h>
static long gone(const char *name) {
    fprintf(stderr, "%s was called: this image's OpenCV has no video (deploy/image/opencv.py)\\n", name);
    abort();
}
"""
NO_VIDEO = """
# There is no FFmpeg in this copy: VideoCapture opens nothing, and says so.
os.environ["OPENCV_VIDEOIO_PRIORITY_FFMPEG"] = "0"
"""
NOTICE = """In this image FFmpeg, libvpx, libaom, OpenSSL, libdrm, OpenBLAS and the runtime of GNU Fortran are not in this wheel
any more, though they are named below; small libraries of FaceFusion's (Apache-2.0) stand in for them.

"""
PROOF = """
import sys
import cv2, numpy as np
a = np.random.default_rng(1).normal(size=(150, 150)) + 20 * np.eye(150)
for kind, near in ((np.float64, 1e-9), (np.float32, 1e-2)):
    for method in (cv2.DECOMP_LU, cv2.DECOMP_CHOLESKY, cv2.DECOMP_QR, cv2.DECOMP_SVD):
        left = (a @ a.T if method == cv2.DECOMP_CHOLESKY else a).astype(kind)
        for right in (left[:, :1], left[:, :3]):
            done, found = cv2.solve(left, right.copy(), flags=method)
            assert done and np.abs(found - np.eye(150)[:, : right.shape[1]]).max() < near, (kind, method)
    s, u, vt = cv2.SVDecomp(a[:, :120].astype(kind))
    assert np.abs((u * s.T) @ vt - a[:, :120]).max() < near
    assert abs(cv2.determinant(a[:140, :140].astype(kind)) / np.linalg.det(a[:140, :140]) - 1) < near
    assert np.abs(cv2.gemm(a.astype(kind), a.astype(kind), 1.0, None, 0.0) - a @ a).max() < near * 10
values, vectors = cv2.eigenNonSymmetric(a)
assert sorted(np.linalg.eigvals(a).real)[-1] - values.max() < 1e-6
picture = (np.indices((64, 64)).sum(0)[..., None] + np.zeros(3)).astype(np.uint8)
for suffix in (".png", ".jpg", ".webp", ".tiff"):
    assert np.abs(cv2.imdecode(cv2.imencode(suffix, picture)[1], 1).astype(int) - picture).max() < 9, suffix
assert cv2.imdecode(np.frombuffer(open(sys.argv[2], "rb").read(), np.uint8), 1) is None
assert not cv2.VideoCapture(sys.argv[1]).isOpened()
"""


def read(*words: str | Path) -> str:
    """What a program says."""
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout


def needed(library: Path) -> list[str]:
    """Names of libraries that one asks for."""
    return re.findall(r"\(NEEDED\).*\[(.+)\]", read("readelf", "-dW", library))


def functions(library: Path, *, has: bool) -> dict[str, str]:
    """Names that a library has, or that it asks of others, with their versions."""
    lines = read("nm", "-D", "--defined-only" if has else "--undefined-only", library).splitlines()
    names = (line.split()[-1] for line in lines)
    return {name: version for name, _, version in (one.replace("@@", "@").partition("@") for one in names)}


def build(target: Path, source: str, *words: str) -> None:
    """Over a library, under its own name: whoever loads it finds this one."""
    code = target.with_suffix(".c")
    code.write_text(source)
    subprocess.run(
        ["cc", "-O2", "-s", "-shared", "-fPIC", f"-Wl,-soname,{target.name}", "-o", target, code, *words], check=True
    )
    code.unlink()


def stand_in(library: Path, asker: Path) -> None:
    """Has the functions that are asked for, and does nothing."""
    has = functions(library, has=True)
    asked = {name: has[name] for name in functions(asker, has=False) if name in has}
    source, script = STAND_IN, ""
    for name in asked:
        says = f"return {int(bool(FAILING.match(name)))}" if name.startswith("aom_") else f'return gone("{name}")'
        source += f"long {name}(void) {{ {says}; }}\n"
    for version in sorted(set(asked.values()) - {""}):
        script += f"{version} {{ {' '.join(f'{name};' for name in asked if asked[name] == version)} }};\n"
    with tempfile.NamedTemporaryFile("w", suffix=".map") as file:
        file.write(script)
        file.flush()
        build(library, source, *([f"-Wl,--version-script={file.name}"] if script else []))


def share_blas(library: Path) -> None:
    """Nothing is done where NumPy brings no such OpenBLAS."""
    found = next((SITE / "numpy.libs").glob("libscipy_openblas64_*"), None)
    if found is None:
        return
    asked = set(functions(library, has=True)) & set(functions(CV2, has=False))
    code = (Path(__file__).parent / "blas.c").read_text()
    build(library, code, "-Wl,-z,defs", "-Wl,-rpath,$ORIGIN/../numpy.libs", str(found), "-lc")
    if missing := asked - set(functions(library, has=True)):
        raise SystemExit(f"opencv.py: blas.c lacks what OpenCV asks for: {sorted(missing)}")


def tidy() -> None:
    """Libraries that nothing asks for any more, and what is said about them."""
    kept, waiting = set(), [CV2]
    while waiting:
        for name in needed(waiting.pop()):
            if (LIBS / name).is_file() and name not in kept:
                kept.add(name)
                waiting.append(LIBS / name)
    for path in LIBS.iterdir():
        if path.name not in kept:
            path.unlink()
    for path in SITE.rglob("LICENSE-3RD-PARTY.txt"):
        if path.parent.name.startswith(("cv2", "opencv_python_headless")):
            path.write_text(NOTICE + path.read_text())
    bill = next(SITE.glob("opencv_python_headless-*.dist-info/sboms/auditwheel.cdx.json"), None)
    if bill is None:
        return
    said = json.loads(bill.read_text())
    gone = {one["bom-ref"] for one in said["components"] if not is_here(one["name"])}
    said["components"] = [one for one in said["components"] if one["bom-ref"] not in gone]
    said["dependencies"] = [
        {**one, **({"dependsOn": [ref for ref in one["dependsOn"] if ref not in gone]} if "dependsOn" in one else {})}
        for one in said["dependencies"]
        if one["ref"] not in gone
    ]
    bill.write_text(json.dumps(said, indent=2))


def is_here(component: str) -> bool:
    """Whether a library of the wheel is in it still, by the name of its package."""
    stem = {"openssl-libs": "libssl", "openblas-threads": "libgfortran"}.get(component, component)
    return stem.startswith("opencv") or any(path.name.startswith(stem) for path in LIBS.iterdir())


def prove() -> None:
    """All that is asked for must be there when it is loaded, and what has no library any more must say no."""
    from PIL import Image

    from facefusion.testing.fakes import sample_path

    with tempfile.NamedTemporaryFile(suffix=".avif") as picture:
        Image.new("RGB", (64, 64), "red").save(picture.name)
        words = [sys.executable, "-c", PROOF, str(sample_path("target.mp4")), picture.name]
        subprocess.run(words, check=True, env={**os.environ, "LD_BIND_NOW": "1", "OPENCV_LOG_LEVEL": "OFF"})


def main() -> None:
    """Change the wheel where it lies."""
    if platform.machine() != "x86_64" or not LIBS.is_dir():
        print("opencv.py: this wheel is left as it is; only that for x86_64 was looked at")
        return
    before = sum(path.stat().st_size for path in LIBS.iterdir())
    askers = [CV2, *LIBS.glob("libavif-*")]
    for library in sorted(LIBS.iterdir()):
        asker = next((one for one in askers if library.name in needed(one)), None)
        if asker is not None and library.name.startswith(GONE):
            stand_in(library, asker)
        elif asker is not None and library.name.startswith("libopenblas"):
            share_blas(library)
    tidy()
    config = CV2.parent / "config.py"
    config.write_text(config.read_text() + NO_VIDEO)
    prove()
    after = sum(path.stat().st_size for path in LIBS.iterdir())
    print(f"OpenCV's libraries: {before / 1e6:.0f} MB, now {after / 1e6:.0f}")


if __name__ == "__main__":
    main()
