from fractions import Fraction
from pathlib import Path

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from facefusion.errors import FaceFusionError, MediaError
from facefusion.imaging.align import invert, square_crop, transform
from facefusion.imaging.mesh import rasterise
from facefusion.imaging.texture import build_plane
from facefusion.media.image import is_photo, read_photo
from facefusion.media.reader import ClipReader
from facefusion.models.mesh_topology import load_mesh_topology
from facefusion.recipe import Recipe, build_recipe
from facefusion.testing.clips import make_clip
from facefusion.testing.fakes import make_mesh, sample_path
from facefusion.types.topology import FACE_OVAL

SLOW = settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])

centres = st.tuples(st.floats(-500, 4000), st.floats(-500, 4000))


@given(centre=centres, side=st.floats(8, 2000), roll=st.floats(-3.1, 3.1), size=st.integers(16, 512))
def test_inverse_undoes_a_crop(centre, side, roll, size):
    affine = square_crop(centre, side, roll, size)
    points = np.array([[0, 0], [size, 3], [size / 2, size]], dtype=np.float32)
    back = transform(affine, transform(invert(affine), points))
    np.testing.assert_allclose(back, points, atol=0.02 * size)


@given(yaw=st.floats(-80, 80), pitch=st.floats(-30, 30), roll=st.floats(-180, 180), size=st.floats(3, 90))
@settings(max_examples=60)
def test_rasterised_faces_have_only_their_own_pixels(yaw, pitch, roll, size):
    topology = load_mesh_topology()
    triangles = np.concatenate([topology.skin, topology.eyes, topology.mouth])
    mesh = make_mesh((128.0, 128.0), size, yaw, pitch, roll)
    drawn = rasterise(mesh, triangles, 256, 256)
    rows, columns = np.nonzero(drawn >= 0)
    if rows.size:
        low, high = mesh[:468, :2].min(axis=0) - 1, mesh[:468, :2].max(axis=0) + 1
        assert low[0] <= columns.min() and columns.max() <= high[0]
        assert low[1] <= rows.min() and rows.max() <= high[1]


def test_texture_plane_is_symmetric():
    topology = load_mesh_topology()
    triangles = np.concatenate([topology.skin, topology.eyes, topology.mouth])
    plane = build_plane(topology.mean, triangles, np.array(FACE_OVAL, dtype=np.int32), 256)
    mirrored = plane.points[:468][topology.flip[:468]].copy()
    mirrored[:, 0] = 255 - mirrored[:, 0]
    np.testing.assert_allclose(mirrored, plane.points[:468], atol=0.05)


@given(
    quality=st.integers(0, 100),
    blur=st.floats(0, 1),
    faces=st.one_of(st.sampled_from(["largest", "all"]), st.lists(st.integers(0, 9), min_size=1).map(tuple)),
    sources=st.lists(st.text(alphabet="abc/._ ", min_size=1).filter(str.strip), max_size=3),
)
def test_recipe_survives_json(quality, blur, faces, sources):
    recipe = build_recipe(
        {
            "output_video_quality": quality,
            "face_mask_blur": blur,
            "faces": faces,
            "source_paths": [Path(s) for s in sources],
        }
    )
    assert Recipe.model_validate_json(recipe.model_dump_json()) == recipe


@given(st.dictionaries(st.text(max_size=12), st.one_of(st.integers(), st.text(max_size=5), st.none()), max_size=3))
def test_any_options_are_accepted_or_explained(options):
    try:
        build_recipe(options)
    except FaceFusionError as error:
        assert error.message


@SLOW
@given(steps=st.lists(st.integers(1, 4000), min_size=3, max_size=20), base=st.sampled_from([12800, 90000, 1000, 30000]))
def test_written_times_are_read_back(steps, base, tmp_path):
    pts = [0, *np.cumsum(steps).tolist()]
    clip = make_clip(tmp_path / "a.mp4", 64, 48, pts=pts, time_base=Fraction(1, base), options={"preset": "ultrafast"})
    assert [frame.pts for frame in ClipReader(clip)] == pts


def damage(content: bytes, cut: float, edits: list[tuple[float, int]]) -> bytes:
    kept = bytearray(content[: max(int(len(content) * cut), 1)])
    for place, value in edits:
        kept[int(place * (len(kept) - 1))] = value
    return bytes(kept)


damages = {
    "cut": st.one_of(st.just(1.0), st.floats(0, 1)),
    "edits": st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), max_size=12),
}


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(**damages, suffix=st.sampled_from([".jpg", ".png", ".webp", ".tiff", ".bmp"]))
def test_damaged_photos_are_read_or_explained(tmp_path, cut, edits, suffix):
    from PIL import Image

    whole = tmp_path / f"whole{suffix}"
    if not whole.exists():
        Image.open(sample_path("source.jpg")).resize((64, 64)).save(whole)
    path = tmp_path / f"damaged{suffix}"
    path.write_bytes(damage(whole.read_bytes(), cut, edits))
    try:
        if is_photo(path):
            assert read_photo(path).pixels.dtype == np.uint8
    except MediaError as error:
        assert error.hint


@settings(max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(**damages, suffix=st.sampled_from([".mp4", ".mkv"]))
def test_damaged_clips_are_read_or_explained(tmp_path, cut, edits, suffix):
    whole = tmp_path / f"whole{suffix}"
    if not whole.exists():
        make_clip(whole, 64, 48)
    path = tmp_path / f"damaged{suffix}"
    path.write_bytes(damage(whole.read_bytes(), cut, edits))
    try:
        times = [frame.pts for frame in ClipReader(path)]
        assert times == sorted(set(times))
    except MediaError as error:
        assert error.hint
