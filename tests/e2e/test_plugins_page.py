"""All that stands on the page for authors of plug-ins is done, in order."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import wave
from fractions import Fraction
from pathlib import Path

import numpy as np
from tests.chaos import digest
from tests.patience import PATIENCE_S

from facefusion.imaging.resample import resize_pixels
from facefusion.media.generate import write_test_clip
from facefusion.media.probe import probe
from facefusion.media.reader import ClipReader
from facefusion.testing.fakes import sample_path

PAGE = Path(__file__).resolve().parents[2] / "docs" / "plugins.md"
BLOCK = re.compile(r'^```(\w+)(?: title="([^"]+)")?\n(.*?)^```$', re.MULTILINE | re.DOTALL)


def test_a_stranger_can_follow_the_page(tmp_path):
    package, site = tmp_path / "package", tmp_path / "site"
    work = tmp_path / "work"
    work.mkdir()
    blocks = BLOCK.findall(PAGE.read_text(encoding="utf-8"))
    assert {language for language, _, _ in blocks} == {"toml", "python", "sh"}
    for _, title, text in blocks:
        if title and title != "facefusion.toml":
            (package / title).parent.mkdir(parents=True, exist_ok=True)
            (package / title).write_text(text, encoding="utf-8")
    (package / "src/facefusion_blush/__init__.py").touch()
    frames = [resize_pixels(frame.pixels, 128, 128) for frame in ClipReader(sample_path("target.mp4"))][::12]
    write_test_clip(work / "clip.mp4", frames[:6], [k * 2560 for k in range(6)], Fraction(1, 12800))
    with wave.open(str(work / "speech.wav"), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16_000)
        noise = np.random.default_rng(0).integers(-9000, 9000, 16_000)
        file.writeframes((noise * (np.arange(16_000) > 8000)).astype("<i2").tobytes())

    known = os.environ.get("PYTHONPATH")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(site), *([known] if known else [])])}

    def do(*words, **variables):
        done = subprocess.run(
            [sys.executable, *words], cwd=work, env={**environment, **variables}, capture_output=True, text=True,
            timeout=PATIENCE_S, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{words}: {done.stderr}{done.stdout}"
        return done.stdout

    said = {}
    for language, title, text in blocks:
        if language == "python" and not title:
            do("-c", text)
        if title == "facefusion.toml":
            (work / "step.toml").write_text(text, encoding="utf-8")
            do("-m", "facefusion", "run", "--config-path", "step.toml", "-t", "clip.mp4", "-o", "toml.mp4")
        for line in text.splitlines() if language == "sh" else ():
            words = shlex.split(line)
            if words[0] == "pip":
                quiet = ("--quiet", "--disable-pip-version-check", "--no-index", "--no-deps", "--no-build-isolation")
                do("-m", "pip", "install", *quiet, "--target", str(site), str(package))
                continue
            variables = dict(word.split("=", 1) for word in words[: words.index("facefusion")])
            said[line] = do("-m", *words[words.index("facefusion") :], **variables)
    assert any("4 hold" in text or "6 hold" in text for text in said.values()), said
    assert digest(work / "blush.mp4") == digest(work / "same.mp4")
    assert digest(work / "blush.mp4") == digest(work / "toml.mp4") == digest(work / "library.mp4")
    before, after = (list(ClipReader(work / name)) for name in ("clip.mp4", "blush.mp4"))
    redder = np.mean([b.pixels[..., 1].astype(int) - a.pixels[..., 1] for b, a in zip(before, after, strict=True)])
    assert redder > 0.2
    for name in ("trails.mp4", "pulse.mp4"):
        assert probe(work / name).width == 128
    quiet, loud = ([np.abs(list(ClipReader(work / "pulse.mp4"))[k].pixels.astype(int) - before[k].pixels).mean()]
                   for k in (0, 5))  # fmt: skip
    assert loud > quiet
