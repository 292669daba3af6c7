"""What lies before a face stays before it: hands in the colour of the face, glasses, hair."""

import cv2
import numpy as np
import pytest

from facefusion.imaging.resample import decode
from facefusion.models.pose import estimate_pose
from facefusion.models.synthetic_faces import load_synthetic_faces
from facefusion.plugins.protocols import EngineContext
from facefusion.plugins.registry import build_engine
from facefusion.recipe import Recipe
from facefusion.types.face import Face
from facefusion.types.topology import FACE_OVAL, LEFT_IRIS, RIGHT_IRIS

PEOPLE = (2, 5, 11, 17, 23)


class Painted:
    """A synthetic person with something before the face.

    Attributes
    ----------
    pixels, face
        The picture and the face.
    thing, inner
        (H, W) bool: what lies before it, and the face within its outline.
    """

    def __init__(self, number: int) -> None:
        found = load_synthetic_faces()[number]
        mesh = found.mesh.astype(np.float32)
        self.pixels, self.face = decode(found.jpeg).copy(), Face(mesh, 1.0, estimate_pose(mesh))
        self.unit = float(np.linalg.norm(mesh[LEFT_IRIS, :2] - mesh[RIGHT_IRIS, :2]))
        self.thing = np.zeros(self.pixels.shape[:2], dtype=bool)
        inner = np.zeros(self.pixels.shape[:2], np.uint8)
        cv2.fillPoly(inner, [np.round(mesh[list(FACE_OVAL), :2]).astype(np.int32)], 1)
        self.inner = cv2.erode(inner, np.ones((3, 3), np.uint8), iterations=max(round(self.unit * 0.06), 1)) > 0
        cheeks = [tuple(np.round(mesh[k, 1::-1]).astype(int)) for k in (50, 280, 151)]
        self.skin = np.median([self.pixels[y, x] for y, x in cheeks], axis=0)

    def at(self, row: int) -> np.ndarray:
        return self.face.mesh[row, :2]

    def limb(self, start, end, width: float, tone: float = 1.0) -> None:
        """A rounded bar in the colour of the face, shaded towards one side."""
        y, x = np.mgrid[0 : self.pixels.shape[0], 0 : self.pixels.shape[1]].astype(np.float32)
        (ax, ay), (bx, by) = start, end
        along = np.clip(
            ((x - ax) * (bx - ax) + (y - ay) * (by - ay)) / max((bx - ax) ** 2 + (by - ay) ** 2, 1e-3), 0, 1
        )
        dx, dy = x - (ax + along * (bx - ax)), y - (ay + along * (by - ay))
        distance = np.hypot(dx, dy) / (width / 2)
        alpha = np.clip((1 - distance) * width / 3, 0, 1)[..., None]
        shade = 1 - 0.3 * np.minimum(distance, 1) ** 2 - 0.15 * np.clip(dx / (width / 2), 0, 1)
        colour = self.skin * tone * shade[..., None]
        self.pixels = np.clip(self.pixels + (colour - self.pixels) * alpha, 0, 255).astype(np.uint8)
        self.thing |= alpha[..., 0] > 0.5


def with_fist(number: int) -> Painted:
    """Four fingers side by side before the mouth, and the back of the hand."""
    made = Painted(number)
    middle, unit = np.add(made.at(14), (0, made.unit * 0.1)), made.unit
    made.limb(np.add(middle, (0, unit * 0.5)), np.add(middle, (unit * 0.3, unit * 2.5)), unit * 1.0, 0.96)
    for k in range(4):
        begin = np.add(middle, ((k - 1.5) * unit * 0.27, 0.0))
        made.limb(begin, np.add(begin, (unit * 0.03, unit * 0.5)), unit * 0.29, 1.03)
    return made


def with_finger(number: int) -> Painted:
    """One finger across a cheek to the nose."""
    made = Painted(number)
    unit = made.unit
    end = np.add(made.at(361), (unit * 0.8, unit * 0.9))
    made.limb(np.add(made.at(4), (unit * 0.2, unit * 0.1)), end, unit * 0.3, 0.95)
    return made


def with_clear_glasses(number: int) -> Painted:
    """Thick frames of clear plastic: the skin shows through."""
    made = Painted(number)
    frame = np.zeros(made.pixels.shape[:2], np.float32)
    for eye in (LEFT_IRIS, RIGHT_IRIS):
        axes = (round(made.unit * 0.42), round(made.unit * 0.33))
        middle = tuple(int(v) for v in np.round(made.at(eye)))
        cv2.ellipse(frame, middle, axes, 0, 0, 360, 1.0, max(round(made.unit * 0.08), 2), cv2.LINE_AA)
    made.pixels = (made.pixels + (np.float32([225, 215, 190]) - made.pixels) * 0.6 * frame[..., None]).astype(np.uint8)
    made.thing = frame > 0.5
    return made


def with_hair_beside(colour: tuple[int, int, int]):
    """Long hair that hangs before one side of the face, from the forehead to the jaw."""

    def paint(number: int) -> Painted:
        made = Painted(number)
        y, x = np.mgrid[0 : made.pixels.shape[0], 0 : made.pixels.shape[1]].astype(np.float32)
        edge = made.at(234)[0] + 0.42 * made.unit - 0.05 * made.unit * np.sin(y / made.unit * 4)
        streaks = np.random.default_rng(3).normal(0, 1, (8, 96)).astype(np.float32)
        streaks = cv2.resize(streaks, made.pixels.shape[1::-1], interpolation=cv2.INTER_CUBIC)
        alpha = np.clip((edge - x) / (0.05 * made.unit) + 0.5, 0, 1)[..., None]
        hair = np.float32(colour) * (1 + 0.22 * streaks[..., None])
        made.pixels = np.clip(made.pixels + (hair - made.pixels) * alpha, 0, 255).astype(np.uint8)
        made.thing = alpha[..., 0] > 0.5
        return made

    return paint


def sharp(made: Painted) -> Painted:
    return made


def as_filmed(made: Painted) -> Painted:
    """As a small camera shows it: soft, compressed, enlarged."""
    height, width = made.pixels.shape[:2]
    factor = 24 / made.unit
    small = cv2.resize(made.pixels, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
    coded = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, 40])[1]
    made.pixels = cv2.resize(cv2.imdecode(coded, cv2.IMREAD_COLOR), (width, height), interpolation=cv2.INTER_CUBIC)
    return made


@pytest.fixture(scope="module")
def occluder():
    return build_engine("face_occluder", "embedded", EngineContext(Recipe()))


def measure(occluder, made: Painted) -> tuple[float, float]:
    """How far the thing counts as face, and the rest of the face."""
    (bare,) = occluder.mask([made.pixels], [made.face])
    near = cv2.dilate(made.thing.astype(np.uint8), np.ones((3, 3), np.uint8), iterations=2) > 0
    return float(bare[made.thing & made.inner].sum() / max((made.thing & made.inner).sum(), 1)), float(
        bare[made.inner & ~near].mean()
    )


@pytest.mark.parametrize(
    ("paint", "film", "most"),
    [
        pytest.param(with_fist, sharp, 0.4, id="fist"),
        pytest.param(with_fist, as_filmed, 0.4, id="soft fist"),
        pytest.param(with_finger, sharp, 0.3, id="finger"),
        pytest.param(with_finger, as_filmed, 0.45, id="soft finger"),  # less surely since hair is told, too
        pytest.param(with_clear_glasses, sharp, 0.5, id="clear glasses"),
        pytest.param(with_clear_glasses, as_filmed, 0.5, id="soft clear glasses"),
        pytest.param(with_hair_beside((70, 48, 36)), sharp, 0.3, id="brown hair"),
        pytest.param(with_hair_beside((70, 48, 36)), as_filmed, 0.3, id="soft brown hair"),
    ],
)
def test_what_lies_before_a_face_is_no_face(occluder, paint, film, most):
    found = np.array([measure(occluder, film(paint(number))) for number in PEOPLE])
    assert found[:, 0].mean() < most
    assert found[:, 1].min() > 0.8


def test_a_bare_face_is_bare(occluder):
    found = [measure(occluder, Painted(number))[1] for number in PEOPLE]
    assert min(found) > 0.97, found
