"""What every engine must hold to. Plug-in authors call these from their own tests, as ours do.

``facefusion plugins check`` calls them too, so what is wrong is said in words (`Nonconforming`).
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from fractions import Fraction
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import tomli_w

from facefusion.declaration import Input, ModelRef, Need, Options, ProcessorSpec, Requirements, Step
from facefusion.documents import parse_toml
from facefusion.errors import RecipeError
from facefusion.imaging.flow import FlowEstimator
from facefusion.plugins.protocols import (
    Classifier,
    ContentCheck,
    Detector,
    FaceProcessor,
    FrameProcessor,
    FrameSource,
    Identifier,
    Landmarker,
    LineMasker,
    Masker,
    PointLandmarker,
)
from facefusion.render.flow import FrameLink
from facefusion.render.renderer import cut_out
from facefusion.testing.fakes import make_face
from facefusion.types.crop import Crop, SourceFace
from facefusion.types.frame import Frame, FrameWindow, Pixels, SourceInfo, scaled_size
from facefusion.types.sound import Sound
from facefusion.types.sources import Sources
from facefusion.types.topology import POINT_COUNT
from facefusion.wording import counted

T = TypeVar("T")
BATCH_LEVELS = 3
"""Networks round otherwise when several pictures go through them together; by no more levels of 255 than this."""
THREADS = 4
HEAVY = ("numpy", "cv2", "onnxruntime", "av", "PIL", "torch", "sqlalchemy")
"""What a declaration must not import: options are listed at every start."""


class Nonconforming(AssertionError):
    """An engine does not hold to its contract; the message says in which way."""


def hold(condition: object, message: str) -> None:
    """Raise `Nonconforming` where a condition does not hold."""
    if not condition:
        raise Nonconforming(message)


def _arrays(value: Any) -> list[npt.NDArray[Any]]:
    """All arrays in what an engine was given or answered."""
    if isinstance(value, np.ndarray):
        return [value]
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return [found for item in value for found in _arrays(item)]
    slots = [name for kind in type(value).__mro__ for name in getattr(kind, "__slots__", ())]
    names = [name for name in dict.fromkeys([*slots, *getattr(value, "__dict__", {})]) if not name.startswith("_")]
    return [found for name in names for found in _arrays(getattr(value, name, None))]


def _is_same(one: Any, other: Any) -> bool:
    first, second = _arrays(one), _arrays(other)
    return len(first) == len(second) and all(
        a.shape == b.shape and a.dtype == b.dtype and np.array_equal(a, b, equal_nan=a.dtype.kind == "f")
        for a, b in zip(first, second, strict=True)
    )


def steadily(what: str, call: Callable[[], T], given: Any) -> T:
    """Call an engine: once, again, and from several threads; it must answer the same and write into nothing.

    Parameters
    ----------
    what
        Name of the engine's kind, for messages.
    call
        Calls it.
    given
        What it is given; all arrays in it must stay as they are.
    """
    arrays = _arrays(given)
    before = [array.copy() for array in arrays]
    first = call()
    for array, copy in zip(arrays, before, strict=True):
        hold(np.array_equal(array, copy), f"{what} writes into what it is given; work on a copy")
    hold(_is_same(first, call()), f"{what} answers the same input otherwise the second time; it must keep no state")
    with ThreadPoolExecutor(THREADS) as pool:
        others = [future.result() for future in [pool.submit(call) for _ in range(2 * THREADS)]]
    hold(
        all(_is_same(first, other) for other in others),
        f"{what} answers otherwise when it is called from several threads at once; it must share no buffer",
    )
    return first


def _noise(*shape: int, seed: int = 0) -> Pixels:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def check_detector(detector: Detector) -> None:
    """A detector takes pictures of any size, and reports faces best first."""
    pictures = [_noise(*size, 3, seed=k) for k, size in enumerate(((1, 1), (37, 211), (480, 640)))]
    found = steadily("the detector", lambda: detector.detect(pictures), pictures)
    hold(
        len(found) == len(pictures),
        f"{len(pictures)} pictures were given, and {counted(len(found), 'list')} of faces came back",
    )
    for faces in found:
        scores = [face.score for face in faces]
        hold(scores == sorted(scores, reverse=True), "faces must come best first")
        for face in faces:
            hold(face.box.shape == (4,), f"a box is (4,) xyxy, not {face.box.shape}")
            hold(face.points.shape == (5, 2), f"points are (5, 2), not {face.points.shape}")
            hold(0 <= face.score <= 1, f"a score is from 0 to 1, not {face.score}")


def check_landmarker(landmarker: Landmarker) -> None:
    """A landmarker returns one mesh and one score for each crop, and does not mix them up."""
    size = landmarker.crop_size
    hold(isinstance(size, int) and size > 0, f"crop_size is a number of pixels, not {size!r}")
    crops = [_noise(size, size, 3, seed=k) for k in range(3)]
    meshes, scores = steadily("the landmarker", lambda: landmarker.landmark(crops), crops)
    hold(meshes.shape == (3, POINT_COUNT, 3), f"meshes of 3 crops are (3, {POINT_COUNT}, 3), not {meshes.shape}")
    hold(scores.shape == (3,), f"scores of 3 crops are (3,), not {scores.shape}")
    hold(((scores >= 0) & (scores <= 1)).all(), "scores are from 0 to 1")
    alone, _ = landmarker.landmark(crops[1:2])
    hold(np.allclose(alone[0], meshes[1], atol=0.05), "a crop alone gives another mesh than among others")


def check_point_landmarker(landmarker: PointLandmarker) -> None:
    """A landmarker of another layout returns 68 points and a score for every face of a picture."""
    picture = _noise(240, 320, 3)
    faces = [make_face(centre=(x, 120.0), eye_distance=40.0) for x in (90.0, 240.0)]
    found = steadily("the landmarker", lambda: landmarker.locate(picture, faces), (picture, faces))
    hold(len(found) == 2, f"2 faces were given, and {counted(len(found), 'answer')} came back")
    for points, score in found:
        hold(np.shape(points) == (68, 2), f"points are (68, 2), not {np.shape(points)}")
        hold(np.isfinite(points).all(), "points must be numbers")
        hold(np.isfinite(score), "a score must be a number")
    hold(landmarker.locate(picture, []) == [], "no face must give no answer")


def check_identifier(identifier: Identifier) -> None:
    """A recogniser gives one vector for each picture, of one length, that is not nothing."""
    hold(isinstance(identifier.contract, str) and identifier.contract, "contract must name the space of the vectors")
    hold(-1 < identifier.same_person_cosine < 1, "same_person_cosine must be between -1 and 1")
    pictures = [_noise(200, 200, 3, seed=k) for k in range(3)]
    points = [make_face(centre=(100.0, 100.0), eye_distance=30.0 + 8 * k).five_points for k in range(3)]
    vectors = steadily("the recogniser", lambda: identifier.identify(pictures, points), (pictures, points))
    hold(vectors.ndim == 2 and len(vectors) == 3, f"3 pictures give (3, D) vectors, not {vectors.shape}")
    hold(np.isfinite(vectors).all(), "vectors must be numbers")
    hold((np.linalg.norm(vectors, axis=1) > 0).all(), "a vector of zeros is near to nobody")
    (alone,) = identifier.identify(pictures[1:2], points[1:2])
    cosine = float(alone @ vectors[1] / (np.linalg.norm(alone) * np.linalg.norm(vectors[1])))
    hold(cosine > 0.999, "a picture alone gives another vector than among others")


def check_classifier(classifier: Classifier) -> None:
    """A classifier estimates one set of attributes for each picture."""
    pictures = [_noise(200, 200, 3, seed=k) for k in range(2)]
    points = [make_face(centre=(100.0, 100.0), eye_distance=40.0).five_points for _ in range(2)]
    found = steadily("the classifier", lambda: classifier.classify(pictures, points), (pictures, points))
    hold(len(found) == 2, f"2 pictures were given, and {counted(len(found), 'answer')} came back")
    hold(found == classifier.classify(pictures, points), "the classifier answers otherwise the second time")
    for one in found:
        low, high = one.ages
        hold(0 <= low < high, f"ages are a half-open range of years, not {one.ages}")
        hold(one.gender in ("female", "male"), f"gender is female or male, not {one.gender!r}")
        hold(
            one.race in ("white", "black", "latino", "asian", "indian", "arabic"),
            f"race is one of FaceFusion's words, not {one.race!r}",
        )


def check_content_check(check: ContentCheck) -> None:
    """A content check takes pictures of any size, says one finite number for each, and does not mix them up."""
    hold(isinstance(check.limit, int | float) and np.isfinite(check.limit), f"limit is a number, not {check.limit!r}")
    pictures = [_noise(*size, 3, seed=k) for k, size in enumerate(((1, 1), (37, 211), (480, 640)))]
    scores = steadily("the content check", lambda: check.check(pictures), pictures)
    hold(scores.shape == (3,), f"scores of 3 pictures are (3,), not {scores.shape}")
    hold(np.isfinite(scores).all(), "scores are finite numbers")
    alone = check.check(pictures[1:2])
    hold(np.allclose(alone[0], scores[1], atol=1e-3), "a picture alone gives another score than among others")
    hold(len(check.check([])) == 0, "no pictures have no scores")


def check_masker(masker: Masker) -> None:
    """A masker gives one mask of a crop's size, 0 to 1, for crops of any size."""
    crops = [_noise(*size, 3, seed=k) for k, size in enumerate(((128, 128), (200, 170), (61, 64)))]
    faces = [
        make_face(centre=(c.shape[1] / 2, c.shape[0] / 2), eye_distance=min(c.shape[:2]) / 3.0) for c in crops
    ]  # fmt: skip
    masks = steadily("the masker", lambda: masker.mask(crops, faces), (crops, faces))
    hold(
        len(masks) == len(crops),
        f"{counted(len(crops), 'crop was', 'crops were')} given, and {counted(len(masks), 'mask')} came back",
    )
    pairs = list(zip(masks, crops, strict=True))
    if isinstance(masker, LineMasker):
        apart = steadily("the masker of lines", lambda: masker.mask_with_lines(crops, faces), (crops, faces))
        hold(len(apart) == len(crops), "there is a mask, and lines or None, for every crop")
        for found, crop in zip(apart, crops, strict=True):
            pairs += [(mask, crop) for mask in found if mask is not None]
    for mask, crop in pairs:
        hold(mask.shape == crop.shape[:2], f"the mask of a crop of {crop.shape[:2]} is {mask.shape}")
        hold(mask.dtype == np.float32, f"masks are float32, not {mask.dtype}")
        hold(mask.min() >= 0 and mask.max() <= 1, "masks are from 0 to 1")


def check_optical_flow(flow: FlowEstimator) -> None:
    """An optical flow tells for every pixel where it was; nothing moves between a picture and itself."""
    rows, columns = np.mgrid[0:192, 0:192]
    waves = np.stack([np.sin(columns / 9) * np.cos(rows / 7), np.sin(rows / 11), np.cos((rows + columns) / 13)], -1)
    before = ((waves + 1) * 127).astype(np.uint8)
    after = np.ascontiguousarray(np.roll(before, 3, axis=1))
    found = steadily("the optical flow", lambda: flow(before, after), (before, after))
    hold(found.shape == (192, 192, 2), f"the flow of (192, 192, 3) pictures is (192, 192, 2), not {found.shape}")
    hold(found.dtype == np.float32, f"flow is float32, not {found.dtype}")
    hold(np.isfinite(found).all(), "flow must be numbers")
    hold(np.abs(flow(before, before)).mean() < 0.5, "a picture that stands still must have no flow")


def some_sources(requirements: Requirements | None = None) -> Sources:
    """Sources as a processor asks for them: a face of noise, and a sound of bursts."""
    face = SourceFace(_noise(256, 256, 3, seed=9) // 2 + 60, make_face(centre=(128.0, 128.0), eye_distance=60.0))
    t = np.arange(16_000 * 4) / 16_000
    sound = Sound((0.4 * np.sin(t * 2 * np.pi * 300) * (t % 0.5 < 0.3)).astype(np.float32)[:, None], 16_000)
    wanted = frozenset({Input.FACE_PHOTO}) if requirements is None else requirements.inputs
    faces = [face] if requirements is None or Input.FACE_PHOTO in wanted else []
    return Sources(faces, [sound] if Input.SOUND in wanted else ())


def some_crops(processor: FaceProcessor, requirements: Requirements | None = None) -> list[Crop]:
    """Crops as a processor wants them: from the front, turned, over the border, and one with a layer already."""
    frame = _noise(240, 320, 3, seed=5) // 2 + 60
    places: list[dict[str, Any]] = [
        {"centre": (150.0, 120.0), "eye_distance": 40.0, "yaw": 20.0},
        {"centre": (160.0, 100.0), "eye_distance": 33.0, "roll": 15.0},
        {"centre": (10.0, 200.0), "eye_distance": 40.0},
    ]
    needs = frozenset() if requirements is None else requirements.needs
    crops = []
    for k, place in enumerate(places):
        face = replace(make_face(**place), person=k)
        if "identity" in processor.needs or Need.IDENTITY in needs:
            face = replace(face, identity=np.random.default_rng(k).normal(size=512).astype(np.float32))
        crops.append(replace(cut_out(frame, face, processor.crop_shape), moment=Fraction(k, 10)))
    layer = np.full_like(crops[0].pixels, 128)
    half = np.full_like(crops[0].alpha, 0.5)
    return [*crops, crops[0].with_layer(layer, half)]


def check_face_processor(
    processor: FaceProcessor, requirements: Requirements | None = None, sources: Sources | None = None
) -> None:
    """A face processor keeps size and place of a crop, answers with alpha in range, and the same every time.

    Parameters
    ----------
    processor
        Built, not yet prepared.
    requirements
        What it declares, where that is to be compared.
    sources
        What it takes in; by itself what it requires.
    """
    if requirements is not None:
        hold(
            bool(processor.covers_fully) == requirements.is_protective,
            f"covers_fully is {processor.covers_fully}, but is_protective of the requirements is "
            f"{requirements.is_protective}; both say whether people are hidden",
        )
        hold(
            ("identity" in processor.needs) == (Need.IDENTITY in requirements.needs),
            f"needs of the processor are {sorted(processor.needs)}, those of the requirements "
            f"{sorted(requirements.needs)}; both say whether identities are asked for",
        )
    processor.prepare(some_sources(requirements) if sources is None else sources)
    crops = some_crops(processor, requirements)
    changed = steadily("the processor", lambda: processor.process(crops), crops)
    hold(
        len(changed) == len(crops),
        f"{counted(len(crops), 'crop was', 'crops were')} given, and {len(changed)} came back",
    )
    for crop, made in zip(crops, changed, strict=True):
        hold(made.pixels.shape == crop.pixels.shape, f"a crop of {crop.pixels.shape} came back as {made.pixels.shape}")
        hold(made.pixels.dtype == np.uint8, f"pixels are uint8, not {made.pixels.dtype}")
        hold(made.alpha.shape == crop.pixels.shape[:2], f"alpha of a crop of {crop.pixels.shape} is {made.alpha.shape}")
        hold(made.alpha.dtype == np.float32, f"alpha is float32, not {made.alpha.dtype}")
        hold(made.alpha.min() >= 0 and made.alpha.max() <= 1, "alpha is from 0 to 1")
        hold(np.array_equal(made.crop_from_frame, crop.crop_from_frame), "crop_from_frame must stay as it is")
        hold(made.moment == crop.moment, "the moment of a crop must stay; use crop.with_layer, which keeps it")
        beneath = crop.pixels if crop.under is None else crop.under
        is_layered = made.under is not None
        hold(
            np.array_equal(made.pixels if made.under is None else made.under, beneath),
            "the frame under the layer must stay as it is; use crop.with_layer, which keeps it",
        )
        hold(is_layered or not made.alpha.any(), "alpha without a layer shows nothing; use crop.with_layer")
    for number in reversed(range(len(crops))):
        (alone,) = processor.process([crops[number]])
        off = np.abs(alone.visible().astype(int) - changed[number].visible())
        hold(
            off.max() <= BATCH_LEVELS,
            f"a crop alone differs from the same crop among others by {off.max()} levels; the result may depend on "
            "that crop, its moment and the sources only",
        )


def some_frames(count: int, width: int = 48, height: int = 36) -> list[Frame]:
    """Frames of noise at uneven times."""
    base = Fraction(1, 600)
    return [Frame(_noise(height, width, 3, seed=k), k, k * 20 + k % 3, base, None, 20) for k in range(count)]


def check_frame_processor(
    processor: FrameProcessor,
    requirements: Requirements | None = None,
    sources: Sources | None = None,
    build: Callable[[], FrameProcessor] | None = None,
) -> None:
    """A frame processor keeps to its halo and its scale, and answers the same for every span.

    Parameters
    ----------
    processor
        Built, not yet prepared.
    requirements
        What it declares; with none it looks at no neighbours.
    sources
        What it takes in; by itself what it requires.
    build
        Makes another one; with it, what is kept from frame to frame is found out in every case.
    """
    requirements = requirements or Requirements(needs=frozenset())
    halo = requirements.halo
    hold(halo >= 0, f"halo is a number of frames, not {halo}")
    try:
        scale = Fraction(processor.scale)
    except (TypeError, ValueError) as error:
        raise Nonconforming(f"scale is a fraction such as Fraction(2), not {processor.scale!r}") from error
    hold(scale > 0, f"scale is above 0, not {scale}")
    hold(not requirements.is_protective, "a frame processor hides nobody: is_protective is for face processors")
    taken = some_sources(requirements) if sources is None else sources
    processor.prepare(taken)

    frames = some_frames(2 * halo + 8)
    middle = FrameWindow(tuple(frames[: 2 * halo + 1]), halo, Fraction(1, 3))
    windows = [middle, FrameWindow(tuple(frames[: halo + 1]), 0), FrameWindow(tuple(frames[-halo - 1 :]), halo)]
    found = steadily("the processor", lambda: processor.process(windows), windows)
    hold(
        len(found) == len(windows),
        f"{counted(len(windows), 'window was', 'windows were')} given, and {counted(len(found), 'frame')} came back",
    )
    for window, pixels in zip(windows, found, strict=True):
        _check_frame(window.now, pixels, scale)
    for width, height in ((33, 27), (16, 64)):
        odd = some_frames(2 * halo + 1, width, height)
        for pixels in processor.process([FrameWindow(tuple(odd), halo)]):
            _check_frame(odd[halo], pixels, scale)
    hold(processor.process([]) == [], "no window must give no frame")

    def link() -> FrameLink:
        another = processor if build is None else build()
        another.prepare(taken)
        return FrameLink("processor", another, halo)

    whole = [pixels for _, pixels in link().run(frames, lambda rendered: rendered.pixels, 1, 1)]
    last = len(frames) - halo
    for start, stop, batch_size, levels in ((halo + 1, halo + 4, 2, BATCH_LEVELS), (last - 2, last, 1, 0)):
        # As another worker reads it: from elsewhere, counted from there, without what was rendered before.
        around = [replace(f, index=k) for k, f in enumerate(frames[start - halo : stop + halo])]
        part = [pixels for _, pixels in link().run(around, lambda rendered: rendered.pixels, batch_size, THREADS)]
        for number in range(start, stop):
            off = int(np.abs(part[number - start + halo].astype(int) - whole[number]).max())
            hold(
                off <= levels,
                f"frame {number} comes out otherwise, by {off} levels, when rendering starts near it: a frame may "
                f"depend on the {halo} frames before and after it (the halo), its moment and the sources, and on "
                "nothing that was rendered before or on its index",
            )


def _check_frame(frame: Frame, pixels: Pixels, scale: Fraction) -> None:
    height, width = frame.pixels.shape[:2]
    wanted = scaled_size(width, height, scale)
    hold(isinstance(pixels, np.ndarray), f"frames are arrays, not {type(pixels).__name__}")
    hold(
        pixels.shape == (wanted[1], wanted[0], 3) and pixels.dtype == np.uint8,
        f"a frame of {width} x {height} px came back as {pixels.shape} {pixels.dtype}; with scale {scale} it is "
        f"({wanted[1]}, {wanted[0]}, 3) uint8",
    )


def check_frame_source(
    source: FrameSource,
    requirements: Requirements | None = None,
    sources: Sources | None = None,
    build: Callable[[], FrameSource] | None = None,
) -> None:
    """A source says what it is going to make, and makes every frame by its number alone.

    Parameters
    ----------
    source
        Built, not yet prepared.
    requirements
        What it declares.
    sources
        What it takes in; by itself what it requires.
    build
        Makes another one; with it, what is kept from frame to frame is found out in every case.
    """
    taken = some_sources(requirements) if sources is None else sources
    source.prepare(taken)
    info = source.info
    hold(isinstance(info, SourceInfo), f"info is a SourceInfo, not {type(info).__name__}")
    hold(source.info == info, "info must stay the same")
    count = min(info.frame_count, 6)
    wanted = (info.height, info.width, 3)
    whole = steadily("the source", lambda: list(source.read(0, count)), taken)
    hold(len(whole) == count, f"{counted(count, 'frame was', 'frames were')} asked for, and {len(whole)} came")
    for pixels in whole:
        hold(isinstance(pixels, np.ndarray), f"frames are arrays, not {type(pixels).__name__}")
        hold(
            pixels.shape == wanted and pixels.dtype == np.uint8,
            f"a frame is {pixels.shape} {pixels.dtype}, not {wanted} uint8 as info says",
        )
    another = source if build is None else build()
    another.prepare(taken)
    hold(another.info == info, "info is another one when the source is built again")
    for number in reversed(range(count)):
        part = list(another.read(number, number + 1))
        hold(
            len(part) == 1 and np.array_equal(part[0], whole[number]),
            f"frame {number} comes out otherwise when reading starts there; it may depend on its number and the "
            "sources only",
        )
    last = list(another.read(info.frame_count - 1, info.frame_count))
    hold(len(last) == 1, f"info promises {counted(info.frame_count, 'frame')}, and the last does not come")


def check_declaration(spec: ProcessorSpec) -> None:
    """A declaration has options that survive JSON and TOML, documented, and requirements that follow from them."""
    hold(spec.name.replace("_", "").isalnum() and spec.name == spec.name.lower(), f"'{spec.name}' is no plain name")
    hold(spec.kind in ("face", "frame", "source"), f"kind is face, frame or source, not {spec.kind!r}")
    hold(spec.title, "title says in a few words what the processor does")
    hold(issubclass(spec.options, Options), "options are a subclass of facefusion.declaration.Options")
    hold(":" in spec.build, f"build is 'package.module:function', not {spec.build!r}")
    for name, field in spec.options.model_fields.items():
        hold(field.description, f"option '{name}' has no description")
        hold(not field.is_required(), f"option '{name}' has no default")
    options = spec.options()
    hold(spec.options.model_config.get("frozen"), "options must be frozen")
    hold(spec.options.model_config.get("extra") == "forbid", "options must refuse names that they do not know")
    step = Step(spec.name, options)
    data = step.model_dump(mode="json")
    again = Step.from_table(data)
    hold(again == step, "options do not come back from JSON as they were; use plain values, enums or paths")
    text = tomli_w.dumps({"step": [{"processor": spec.name, **options.model_dump(mode="json", exclude_none=True)}]})
    (table,) = parse_toml(text, "step", RecipeError)["step"]
    hold(Step.from_table(table) == step, "options do not come back from TOML as they were; None must be the default")
    required = spec.require(options)
    hold(isinstance(required, Requirements), f"require answers with Requirements, not {type(required).__name__}")
    hold(required == spec.require(options), "require must answer the same for the same options")
    hold(isinstance(options.decided(), spec.options), "decided answers with options of the same class")
    hold(spec.kind != "face" or Need.FACES in required.needs, "a face processor needs faces: add Need.FACES to needs")
    hold(spec.kind == "frame" or required.halo == 0, "halo is for frame processors")
    hold(all(isinstance(model, ModelRef) for model in required.models), "models are ModelRef")


def check_is_light(target: str) -> None:
    """The module of a declaration imports nothing heavy, in a fresh process.

    Parameters
    ----------
    target
        ``package.module:NAME`` of its entry point.
    """
    module = target.partition(":")[0].strip()
    code = (
        f"import sys, importlib; importlib.import_module({module!r}); "
        f"print(*[name for name in {HEAVY!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    reason = (done.stderr.strip().splitlines() or ["no reason"])[-1]
    hold(done.returncode == 0, f"{module} cannot be imported: {reason}")
    found = done.stdout.split()
    hold(
        not found,
        f"{module} imports {', '.join(found)}; a declaration is imported whenever options are listed, so leave that to "
        "the builder's module",
    )


CHECKS: dict[str, Callable[[Any], None]] = {
    "face_detector": check_detector,
    "face_identifier": check_identifier,
    "face_classifier": check_classifier,
    "content_check": check_content_check,
    "face_occluder": check_masker,
    "face_parser": check_masker,
    "optical_flow": check_optical_flow,
}
"""By capability of engines of pass 1; landmarkers are of two kinds."""


def check_engine(capability: str, engine: Any) -> None:
    """Check an engine of pass 1 by what it is for.

    Raises
    ------
    Nonconforming
    """
    if capability == "face_landmarker":
        if hasattr(engine, "landmark"):
            check_landmarker(engine)
        else:
            check_point_landmarker(engine)
        return
    CHECKS[capability](engine)


def check_step(step: Step, build: Callable[[Step], Any]) -> None:
    """Build the processor of a step and check it by its kind.

    Raises
    ------
    Nonconforming, FaceFusionError
    """
    spec, required = step.spec, step.requirements
    processor = build(step)
    wanted = {
        "face": ("prepare", "process", "crop_shape", "needs", "covers_fully"),
        "frame": ("prepare", "process", "scale"),
        "source": ("prepare", "read"),
    }[spec.kind]
    missing = [name for name in wanted if not hasattr(processor, name)]
    hold(not missing, f"what '{spec.build}' builds has no {', '.join(missing)}; see facefusion.plugins.protocols")
    if spec.kind == "face":
        check_face_processor(processor, required)
    elif spec.kind == "frame":
        check_frame_processor(processor, required, build=lambda: build(step))
    else:
        check_frame_source(processor, required, build=lambda: build(step))
