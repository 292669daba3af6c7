"""Ten things that a developer does: python examples/users/developer.py SAMPLES

SAMPLES is a folder with source.jpg, target.jpg and target.mp4.
"""

import json
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
from PIL import Image

import facefusion
from facefusion import Anonymiser, CancelToken, FaceFusionError, Stopped, Stream, Swapper, Tracks, analyse_image
from facefusion.service.provenance import verify_file

samples = Path(sys.argv[1])
face, photo, clip = (shutil.copy(samples / name, name) for name in ("source.jpg", "target.jpg", "target.mp4"))

print("1. an array in, an array out")
swapper = Swapper(face)
picture = np.asarray(Image.open(photo).convert("RGB"))
new = swapper.swap(picture)
assert new.shape == picture.shape and new.dtype == np.uint8 and (new != picture).any()

print("2. faces as data")
found = analyse_image(picture)
assert len(found) == 1 and found[0].points_68.shape == (68, 2)

print("3. everybody hidden, an image of Pillow")
hidden = Anonymiser(face_anonymiser_model="pixelate").hide(Image.open(photo))
assert isinstance(hidden, Image.Image)

print("4. several threads, one object")
results: dict[int, np.ndarray] = {}
threads = [threading.Thread(target=lambda k=k: results.update({k: swapper.swap(picture)})) for k in range(2)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
assert all(np.array_equal(result, new) for result in results.values())

print("5. frames of a camera")
with Stream(swapper, frame_rate=25) as stream:
    drawn = [stream.change(picture) for _ in range(3)]
    assert all(one is not None and one.shape == picture.shape for one in drawn)

print("6. a file that is signed")
swapper.change(picture).save("new.png")
assert verify_file(Path("new.png")).state == "valid"

print("7. a clip, with progress")
seen: list[str] = []
recipe = facefusion.build_recipe({"source_paths": face, "target_path": clip, "output_path": "out.mp4", "end_s": 0.3})
outcome = facefusion.run(recipe, lambda progress: seen.append(progress.stage))
assert outcome.changed_frame_count > 0 and seen

print("8. pass 1 now, pass 2 another time")
facefusion.analyse_target(recipe).save("clip.tracks")
assert len(Tracks.load("clip.tracks").tracks) == 1

print("9. an end before the end, and on from there")
token = CancelToken()
token.cancel()
try:
    facefusion.run(recipe.with_options(output_path="later.mp4"), cancel=token, jobs_path="jobs")
    raise SystemExit("nobody was stopped")
except Stopped:
    pass
facefusion.run(recipe.with_options(output_path="later.mp4"), jobs_path="jobs")

print("10. errors that say what to do, and the same in JSON for other languages")
try:
    swapper.swap(picture / 255)  # type: ignore[arg-type]
except FaceFusionError as error:
    assert error.hint
told = subprocess.run(["facefusion", "jobs", "list", "--jobs-path", "jobs", "--json"], capture_output=True, check=True)
assert json.loads(told.stdout.splitlines()[-1])
