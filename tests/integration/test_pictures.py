"""Pictures in memory, as programs have them: the road of a photo's job, without its files."""

from __future__ import annotations

import base64
import re
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from fractions import Fraction
from io import BytesIO
from itertools import count
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms
from tests.chaos import make_small
from tests.graphs import channel_means
from tests.patience import wait_until

import facefusion
from facefusion import Anonymiser, CancelToken, FaceFusion, Stream, Swapper, Tracks, analyse_image, build_recipe, run
from facefusion.analyse.turned import TurnedDetector
from facefusion.analysers.detectors.embedded import EmbeddedDetector
from facefusion.errors import (
    ConsentMissing,
    ContentRefused,
    FaceFusionError,
    MediaError,
    MediaUnreadable,
    MediaUnsupported,
    NoFaceInSource,
    OutputRefused,
    PersonBlocked,
    RecipeError,
    Stopped,
    UnknownOption,
)
from facefusion.jobs import once
from facefusion.jobs.work import Worker
from facefusion.media.reader import ClipReader
from facefusion.models import catalog, session
from facefusion.models.store import UnknownHashWarning
from facefusion.pipeline.cast import build_analyser
from facefusion.pipeline.live import Live
from facefusion.pipeline.marks import find_mark
from facefusion.policy.mark import site_id
from facefusion.policy.site import SitePolicy
from facefusion.policy.verifying import verify
from facefusion.service import consent
from facefusion.service.pictures import Changer
from facefusion.testing.fakes import sample_path
from facefusion.types.frame import Frame
from facefusion.workplace import user_base

SOURCE, PHOTO, CLIP = (sample_path(name) for name in ("source.jpg", "target.jpg", "target.mp4"))
EMPTY = np.full((96, 96, 3), 128, np.uint8)


@pytest.fixture(scope="module")
def swapped(swapper, picture):
    return swapper.swap(picture)


def png(pixels):
    held = BytesIO()
    Image.fromarray(pixels).save(held, "PNG")
    return held.getvalue()


# What comes out


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("http://example.com/a.jpg", "addresses are not read"), ("-", "standard input is not read"),
        ("", "an empty path names nothing"), (np.array([[object()]]), "an array of objects"),
    ],
)  # fmt: skip
def test_what_cannot_be_a_picture_is_told_why(given, said):
    with pytest.raises(FaceFusionError, match=said):
        facefusion.analyse_image(given)
    with pytest.raises(RecipeError, match="No source is given"):
        Swapper(None)


def test_an_array_becomes_the_very_pixels_of_a_job_on_the_same_photo_but_for_the_mark(swapped, picture, tmp_path):
    (tmp_path / "target.png").write_bytes(png(picture))
    values = {"source_paths": SOURCE, "target_path": tmp_path / "target.png"}
    plain = SitePolicy(is_marked=False)
    once.run(build_recipe({**values, "output_path": tmp_path / "out.png"}), policy=plain)
    bare = np.asarray(Image.open(tmp_path / "out.png"))
    assert np.array_equal(bare, swapped)
    run(build_recipe({**values, "output_path": tmp_path / "marked.png"}))
    Swapper(SOURCE).change(picture).save(tmp_path / "saved.png")
    for name, has_job in (("marked.png", True), ("saved.png", False)):
        marked = np.asarray(Image.open(tmp_path / name))
        assert 0 < np.abs(marked.astype(int) - bare).max() <= 8
        found = find_mark(tmp_path / name)
        assert found is not None and found.site == site_id() and (found.job != 0) is has_job
    assert swapped.dtype == np.uint8
    assert not np.array_equal(swapped, picture)


def test_what_comes_back_is_what_was_given(swapper, swapped, picture, tmp_path):
    path = tmp_path / "target.png"
    path.write_bytes(png(picture))
    for given in (picture, png(picture), bytearray(png(picture)), path, str(path), picture[:, ::-1][:, ::-1]):
        found = swapper.swap(given)
        assert isinstance(found, np.ndarray)
        assert np.array_equal(found, swapped)
    image = swapper.swap(Image.fromarray(picture))
    assert isinstance(image, Image.Image)
    assert np.array_equal(np.asarray(image), swapped)
    alpha = np.arange(256, dtype=np.uint8)[None].repeat(256, axis=0)
    clear = swapper.swap(Image.fromarray(np.dstack([picture, alpha])))
    assert clear.mode == "RGBA"
    assert np.array_equal(np.asarray(clear), np.dstack([swapped, alpha]))


def profile_named(name, space="sRGB"):
    """A profile that is told from others by its description."""
    made = ImageCms.ImageCmsProfile(ImageCms.createProfile(space)).tobytes()
    assert b"s\0R\0G\0B" in made
    return made.replace(b"s\0R\0G\0B", b"\0".join(bytes([letter]) for letter in name))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF"])
def test_an_image_keeps_the_meaning_of_its_colours_and_nothing_that_is_no_longer_true(picture, kind):
    """Every picture lies on its side, says where it was taken, and has another resolution across than down."""
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "a description"
    if kind != "TIFF":  # Pillow writes none there
        exif[0x8825] = {1: "N", 2: (1.0, 2.0, 3.0)}
    profile, held = profile_named(b"ours"), BytesIO()
    Image.fromarray(np.rot90(picture)).save(held, kind, exif=exif, icc_profile=profile, dpi=(300, 150))
    lying = Image.open(held)
    for door in (Swapper(SOURCE).swap, Anonymiser(face_anonymiser_model="blackout").hide):
        made = door(lying)
        assert made.size == picture.shape[1::-1], "upright, once"
        assert "exif" not in made.info and not dict(made.getexif()) and not made.getexif().get_ifd(0x8825)
        # Pillow itself turns TIFF when it loads it, and leaves the resolution as it was.
        dpi = sorted(made.info["dpi"]) if kind == "TIFF" else made.info["dpi"]
        assert dpi == pytest.approx([150, 300], rel=0.01)
        assert ImageCms.ImageCmsProfile(BytesIO(made.info["icc_profile"])).tobytes()
    swapped = Swapper(SOURCE).swap(lying)
    assert swapped.info["icc_profile"] == profile
    again = BytesIO()
    swapped.save(again, "PNG")
    assert Image.open(again).info["icc_profile"] == profile, "and so it is saved"


def test_an_image_without_a_profile_gets_none_and_one_of_grey_none_of_grey(picture):
    assert not Swapper(SOURCE).swap(Image.fromarray(picture)).info
    grey = Image.fromarray(picture).convert("L")
    curve = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes().replace(b"RGB XYZ", b"GRAYXYZ")
    grey.info["icc_profile"] = curve
    made = Swapper(SOURCE).swap(grey)
    assert made.mode == "RGB" and "icc_profile" not in made.info


def test_what_was_given_is_not_written_into_and_not_given_back(swapper, picture):
    frozen = picture.copy()
    frozen.flags.writeable = False
    assert swapper.swap(frozen) is not frozen
    nobody = EMPTY.copy()
    found = swapper.change(nobody)
    assert (found.is_changed, found.faces, found.changed) == (False, (), ())
    found.pixels[:] = 0
    assert nobody.min() == 128


def test_sources_may_be_arrays_images_and_bytes_and_leave_no_file_behind(swapped, picture):
    pixels = np.asarray(Image.open(SOURCE))
    with Swapper(pixels) as of_array:
        assert np.array_equal(of_array.swap(picture), swapped)
        folder = Path(next(iter(of_array._names))).parent
        assert folder.stat().st_mode & 0o077 == 0
    assert not folder.exists()
    mixed = Swapper([Image.fromarray(pixels), SOURCE.read_bytes(), SOURCE])
    assert mixed.change(picture).is_changed
    del mixed
    assert not [entry for entry in user_base().iterdir() if entry.is_dir()]


def test_everybody_is_hidden_the_same_way_whatever_was_hidden_before(picture):
    picture = picture[32:, 32:]
    first, second = Anonymiser(face_anonymiser_seed=3), Anonymiser(face_anonymiser_seed=3)
    turned = np.ascontiguousarray(picture[:, ::-1])
    one, other = first.hide(picture), first.hide(Image.fromarray(turned))
    assert isinstance(other, Image.Image)
    assert np.array_equal(np.asarray(other), second.hide(turned))
    assert not np.array_equal(one, picture)


def test_somebody_exempt_is_known_by_an_array(picture):
    left = Anonymiser(face_anonymiser_model="blackout", exempt_paths=picture)
    found = left.change(picture)
    assert (len(found.faces), found.changed, found.is_changed) == (1, (), False)


def test_a_batch_is_the_same_in_order_and_names_the_picture_that_is_none(swapper, swapped, picture):
    told = []
    batch = list(swapper.change_each([picture, EMPTY, picture], told.append))
    assert [one.is_changed for one in batch] == [True, False, True]
    assert np.array_equal(batch[2].pixels, swapped)
    assert [(one.done, one.total) for one in told] == [(1, 3), (2, 3), (3, 3)]
    rest = (one for one in [picture, EMPTY.astype(float), *[picture] * 9])
    each = swapper.swap_each(rest)
    assert np.array_equal(next(each), swapped)
    with pytest.raises(MediaUnsupported, match="Picture 2 is of float64"):
        next(each)
    assert np.array_equal(next(rest), picture), "the caller's own may go on"


def test_many_threads_get_what_one_gets(swapper, swapped, picture):
    mirrored = np.ascontiguousarray(picture[:, ::-1])
    alone = swapper.swap(mirrored)
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(swapper.swap, [picture, mirrored, EMPTY] * 3))
    for k, one in enumerate(found):
        assert np.array_equal(one, (swapped, alone, EMPTY)[k % 3])


def test_a_warm_picture_loads_no_model_and_asks_for_no_catalogue(swapper, swapped, picture, monkeypatch):
    def never(*_):
        raise AssertionError("it is there already")

    monkeypatch.setattr(session.Session, "__init__", never)
    monkeypatch.setattr(catalog, "read_catalog", never)
    assert np.array_equal(swapper.swap(picture), swapped)


def test_one_call_for_each_frame_follows_people(swapper):
    frames = [frame.pixels for frame in ClipReader(CLIP, end_s=0.2)]
    with Stream(swapper, frame_rate=25) as stream, Live(swapper.recipe, SitePolicy(is_marked=False)) as live:
        assert stream.latency == 0
        found = [stream.change(pixels) for pixels in frames]
        wanted = [live.change(pixels, k / 25) for k, pixels in enumerate(frames)]
        assert stream.people == (0,)
        assert stream.finish() == []
        with pytest.raises(MediaUnsupported, match="before the one"):
            stream.change(frames[0], at_s=0.0)
        with pytest.raises(MediaUnsupported, match="10 x 10 px where"):
            stream.change(np.zeros((10, 10, 3), np.uint8))
        with pytest.raises(MediaUnsupported, match="The frame is grey"):
            stream.change(frames[0][..., 0])
    assert all(np.array_equal(one, other) for one, other in zip(found, wanted, strict=True))
    for closed in (lambda: stream.change(frames[0]), stream.finish):
        with pytest.raises(RecipeError, match="The stream is closed"):
            closed()
    for rate in (0, -1, float("inf"), float("nan"), 1e9, "25", None):
        with pytest.raises(RecipeError, match="frame rate"):
            Stream(swapper, rate)


@pytest.mark.parametrize("dtype", [np.bool_, np.uint16, np.int16, np.float32])
def test_the_way_that_is_told_for_another_type_keeps_the_picture(swapper, picture, dtype):
    white = 1 if dtype in (np.bool_, np.float32) else np.iinfo(dtype).max
    given = picture > 127 if dtype is np.bool_ else (picture / 255 * white).astype(dtype)
    with pytest.raises(MediaUnsupported, match="Convert it: ") as refused:
        swapper.swap(given)
    way = str(refused.value).split("Convert it: ")[1].split(" where")[0].rstrip(".")
    made = eval(way, {"np": np, "picture": given})
    assert made.dtype == np.uint8
    wanted = given * 255 if dtype is np.bool_ else picture
    assert np.abs(made.astype(int) - wanted).max() <= 1


@pytest.mark.parametrize(
    "given",
    [
        lambda pixels: pixels.astype(np.int64),
        lambda pixels: pixels.astype(np.uint32),
        lambda pixels: pixels.astype(np.int16),
        lambda pixels: pixels.astype(np.float64),
        lambda pixels: pixels.astype(object),
        lambda pixels: pixels.astype(np.int32) * 257,
    ],
)
def test_what_is_white_is_told_by_the_values(swapper, picture, given):
    with pytest.raises(MediaUnsupported, match="Convert it: ") as refused:
        swapper.swap(given(picture))
    way = str(refused.value).split("Convert it: ")[1].split(" where")[0].rstrip(".")
    made = eval(way, {"np": np, "picture": given(picture)})
    assert made.dtype == np.uint8
    np.testing.assert_array_equal(made, picture)


@pytest.mark.parametrize("kind", [np.complex64, "datetime64[s]", "U3", "V3"])
def test_what_holds_no_numbers_of_brightness_is_no_fault(swapper, kind):
    with pytest.raises(MediaUnsupported, match="not uint8"):
        swapper.swap(np.zeros((8, 8, 3), dtype=kind))


@pytest.mark.parametrize("mode", ["I;16", "I", "F", "CMYK", "YCbCr", "HSV", "RGBa"])
def test_the_way_that_is_told_for_a_mode_keeps_the_picture(swapper, picture, mode):
    grey = picture[..., 1].astype(np.float32)
    given = {
        "I;16": lambda: Image.fromarray(grey.astype(np.uint16) * 257),
        "I": lambda: Image.fromarray(grey.astype(np.int32) * 257),
        "F": lambda: Image.fromarray(grey / 255),
    }.get(
        mode,
        lambda: Image.fromarray(picture).convert("RGBA").convert("RGB" if mode != "RGBa" else "RGBA").convert(mode),
    )()
    assert given.mode == mode
    with pytest.raises(MediaUnsupported, match="Convert it") as refused:
        swapper.swap(given)
    way = str(refused.value).split("Convert it")[1].split(": ", 1)[1].split(" where")[0].rstrip(".")
    made = np.asarray(eval(way, {"np": np, "image": given, "Image": Image}))
    wanted = np.stack([grey] * 3, axis=-1) if mode in ("I;16", "I", "F") else picture
    assert made.dtype == np.uint8
    assert np.abs(made.astype(float) - wanted).mean() < 3


def test_what_the_caller_raises_comes_through_and_one_picture_is_not_many(swapper, picture):
    class OfTheCaller(Exception):
        pass

    def pictures():
        yield picture
        raise OfTheCaller

    given = swapper.swap_each(pictures())
    assert next(given).shape == picture.shape
    with pytest.raises(OfTheCaller):
        next(given)
    for one in (picture, Image.fromarray(picture), "face.jpg", b"bytes", 5):
        with pytest.raises(MediaUnsupported, match="Several pictures are wanted"):
            next(swapper.swap_each(one))


@pytest.mark.parametrize("at_s", ["soon", float("nan"), [1], 1j])
def test_what_is_no_time_of_a_frame_is_no_fault(swapper, picture, at_s):
    with Stream(swapper) as stream, pytest.raises(MediaUnsupported, match="There is no time"):
        stream.change(picture, at_s)


@pytest.mark.parametrize("blank", ["", "  ", ("face.jpg", "")])
@pytest.mark.parametrize("name", ["source_paths", "exempt_paths", "target_path", "output_path"])
def test_an_empty_path_is_no_folder(name, blank):
    if name.startswith(("target", "output")) and not isinstance(blank, str):
        blank = ""
    with pytest.raises(RecipeError, match="empty path"):
        build_recipe({name: blank})


@pytest.mark.parametrize("options", [None, 3, "face.jpg", ["face.jpg"], []])
def test_options_are_names_with_values(options):
    with pytest.raises(RecipeError, match="names with their values"):
        build_recipe(options)
    with pytest.raises(RecipeError, match="names with their values"):
        facefusion.set_options(options)


# What is found


def test_faces_of_a_picture_have_points_of_every_layout_and_an_embedding(picture):
    (face,) = analyse_image(picture)
    assert [np.shape(v) for v in (face.box, face.five_points, face.points_68, face.mesh)] == [
        (4,), (5, 2), (68, 2), (478, 3),
    ]  # fmt: skip
    assert face.score > 0.9
    assert abs(face.pose.yaw) < 15
    assert np.isclose(np.linalg.norm(face.embedding), 1)
    (same,) = analyse_image(Image.fromarray(picture[:, ::-1]))
    (other,) = analyse_image(SOURCE)
    assert face.embedding @ same.embedding > 0.8 > face.embedding @ other.embedding
    assert face.is_same_person(same)
    assert not face.is_same_person(other)
    with pytest.raises(FaceFusionError, match="two recognisers"):
        face.is_same_person(replace(other, contract="arcface"))
    assert face.attributes is None
    assert face.as_dict()["pose"].keys() == {"yaw", "pitch", "roll"}
    assert analyse_image(EMPTY) == []


def test_ages_want_a_model_and_say_so(picture):
    with pytest.raises(FaceFusionError, match="fairface") as refused:
        analyse_image(picture, attributes=True)
    assert refused.value.code in ("model_missing", "licence_refused")


# What is refused


@pytest.mark.parametrize(
    ("given", "kind", "said"),
    [
        (np.zeros((8, 9), np.uint8), MediaUnsupported, "The picture is grey (8 x 9). Give three channels"),
        (np.zeros((8, 9, 1), np.uint8), MediaUnsupported, "The picture is grey (8 x 9 x 1)."),
        (np.zeros((8, 9, 4), np.uint8), MediaUnsupported, "four channels. Leave alpha out: picture[..., :3]"),
        (np.zeros((3, 8, 9), np.uint8), MediaUnsupported, "Channels come last: picture.transpose(1, 2, 0)"),
        (np.zeros((2, 8, 9, 3), np.uint8), MediaUnsupported, "the shape 2 x 8 x 9 x 3, not (H, W, 3)"),
        (np.zeros((8, 9, 3), np.float32), MediaUnsupported, "is of float32, not uint8. Convert it: (picture * 255)"),
        (np.zeros((8, 9, 3), np.uint16), MediaUnsupported, "is of uint16, not uint8"),
        (np.zeros((0, 9, 3), np.uint8), MediaUnsupported, "is empty (0 x 9 x 3)"),
        (b"face.jpg", MediaUnreadable, "these bytes are no photo. Give a path as str or Path."),
        (b"", MediaUnreadable, "has no bytes"),
        (b"\0" * 5000, MediaUnreadable, "a photo of a kind that is not read"),
        (png(EMPTY)[:-40], MediaUnreadable, "The picture is damaged"),
        (CLIP, MediaUnsupported, "is a clip"),
        (Path("nowhere.jpg"), MediaError, "There is no file nowhere.jpg"),
        (Image.new("F", (8, 8)), MediaUnsupported, "mode 'F'. Convert it"),
        ([1, 2], MediaUnsupported, "is no picture but list"),
        (None, MediaUnsupported, "is no picture but NoneType"),
    ],
)  # fmt: skip
def test_what_is_no_picture_is_told_in_a_short_sentence_that_says_what_it_is(swapper, given, kind, said):
    with pytest.raises(kind, match=re.escape(said)) as refused:
        swapper.swap(given)
    assert len(str(refused.value)) < 200
    with pytest.raises(kind):
        analyse_image(given)


def test_options_that_mean_nothing_here_and_sources_without_a_face_are_refused(picture):
    for name, value in {"target_path": PHOTO, "output_path": "o.png", "end_s": 2, "report_path": "r.html"}.items():
        with pytest.raises(RecipeError, match=f"'{name}' means nothing where pictures come one at a time"):
            Swapper(SOURCE, **{name: value})
    with pytest.raises(NoFaceInSource, match=r"in the source number 1\."):
        Swapper(EMPTY)
    with pytest.raises(MediaUnsupported, match="Photo number 2 is of float64"):
        Swapper([picture, picture / 255])
    with pytest.raises(UnknownOption, match="mooth"):
        Swapper(SOURCE, smoothing=1)
    with pytest.raises(RecipeError, match="No source is given"):
        Swapper([])
    with pytest.raises(RecipeError, match="names with values, not str"):
        FaceFusion("face.jpg")
    with pytest.raises(UnknownOption, match=r"There is no face 4 in the picture\."):
        Swapper(SOURCE, faces=(4,)).swap(picture)


def test_pictures_where_a_recipe_wants_paths_are_refused_without_what_is_in_them(picture):
    for given in (SOURCE.read_bytes(), [SOURCE.read_bytes()], picture):
        for name in ("source_paths", "target_path", "exempt_paths"):
            if name == "target_path" and isinstance(given, list):
                continue
            with pytest.raises(RecipeError, match="takes paths, not pictures in memory") as refused:
                build_recipe({name: given})
            assert len(str(refused.value)) < 250
    for call in (facefusion.run, facefusion.analyse_target):
        with pytest.raises(RecipeError, match="A recipe is wanted, not dict"):
            call({"target_path": PHOTO})


# The site's policy


def test_pictures_are_changed_by_consent_alone_where_the_site_wants_it(tmp_path, picture, swapped):
    site = SitePolicy(consent_mode="require", ledger=tmp_path / "consents.toml")
    consent.add_consent(site, "the-target", [PHOTO], uses=("target",))
    asked = {"source_paths": np.asarray(Image.open(SOURCE))}
    with pytest.raises(ConsentMissing, match="number 1"):
        Changer(asked, site)
    consent.add_consent(site, "the-source", [SOURCE], uses=("source",))
    changer = Changer(asked, site)
    assert np.array_equal(changer.change(picture).pixels, swapped)
    with pytest.raises(ConsentMissing, match="of the target"):
        changer.change(SOURCE)
    with Stream(changer) as stream:
        assert np.array_equal(stream.change(EMPTY), EMPTY)
    consent.revoke_consent(site, "the-source")
    with pytest.raises(ConsentMissing):
        changer.change(picture)


def test_nobody_on_the_blocklist_is_in_a_picture(tmp_path, picture):
    site = SitePolicy(blocklist=tmp_path / "blocklist.json")
    changer = Changer({"source_paths": SOURCE}, site)
    consent.block(site, [PHOTO])
    with pytest.raises(PersonBlocked):
        changer.change(picture)


def test_what_a_picture_shows_is_looked_at_before_it_is_changed(tmp_path, picture):
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "nsfw_2.onnx").write_bytes(channel_means(384, 2))
    site = SitePolicy(content_mode="require", models_paths=(str(tmp_path / "models"),))
    changer = Changer({"source_paths": SOURCE}, site)
    with pytest.warns(UnknownHashWarning), pytest.raises(ContentRefused):
        changer.change(np.full((64, 64, 3), (255, 0, 0), np.uint8))
    assert changer.change(picture).is_changed


def test_what_is_saved_is_signed_and_says_what_was_done(swapper, picture, tmp_path):
    photo = tmp_path / "target.jpg"
    Image.fromarray(picture).save(photo, exif=_exif())
    swapper.change(photo).save(tmp_path / "out.jpg")
    found = verify(tmp_path / "out.jpg")
    assert found.state in ("valid", "trusted")
    assert b"synthetic media" in (tmp_path / "out.jpg").read_bytes()
    assert exif_of(tmp_path / "out.jpg")[0x010F] == "A camera"
    with pytest.raises(OutputRefused, match="is also an input"):
        swapper.change(photo).save(photo)
    with pytest.raises(OutputRefused):
        swapper.change(picture).save(SOURCE)
    with pytest.raises(OutputRefused):
        swapper.change(picture).save(tmp_path / "out.mp4")
    with pytest.raises(RecipeError, match="A path is a str or a Path, not bytes"):
        swapper.change(picture).save(b"out.png")
    hidden = Anonymiser(face_anonymiser_model="blur").change(photo)
    assert any("GPS" in note or "removed" in note or "left out" in note for note in hidden.save(tmp_path / "hid.jpg"))
    assert 0x010F not in exif_of(tmp_path / "hid.jpg")
    assert verify(tmp_path / "hid.jpg").state in ("valid", "trusted")


def exif_of(path):
    with Image.open(path) as image:
        return dict(image.getexif())


def _exif():
    exif = Image.Exif()
    exif[0x010F] = "A camera"
    return exif


# Cancelling


def test_a_token_ends_pictures_batches_and_streams(swapper, picture):
    token = CancelToken()
    each = swapper.change_each([picture] * 9, cancel=token)
    assert next(each).is_changed
    token.cancel()
    with pytest.raises(Stopped, match="was cancelled"):
        list(each)
    for call in (lambda: swapper.swap(picture, token), lambda: Stream(swapper).change(picture, cancel=token)):
        with pytest.raises(Stopped):
            call()
    assert token.is_cancelled
    assert repr(token) == "CancelToken(cancelled)"


def test_a_run_that_is_cancelled_from_another_thread_leaves_nothing_and_goes_on_where_jobs_are_kept(
    tmp_path, monkeypatch
):
    clip = make_small(tmp_path / "clip.mp4", 10, 96)

    def recipe(name):
        return build_recipe(
            {
                "processors": ["face_anonymiser"], "face_anonymiser_model": "blur", "target_path": clip,
                "output_path": tmp_path / name, "segment_s": 1.0, "output_video_preset": "ultrafast",
            }
        )  # fmt: skip

    token, done, told = CancelToken(), [], []
    perform = Worker.perform

    def cancelled_when_it_renders(worker, job_id, stage, numbers):
        done.append(stage)
        if stage == "render" and not token.is_cancelled:
            threading.Thread(target=token.cancel).start()
            wait_until(worker._is_stopping.is_set)
        return perform(worker, job_id, stage, numbers)

    monkeypatch.setattr(Worker, "perform", cancelled_when_it_renders)
    with pytest.raises(Stopped, match=r"was cancelled\. What is finished is kept; the same call goes on with it"):
        run(recipe("out.mp4"), cancel=token, jobs_path=tmp_path / "jobs")
    assert done[-1] == "render"
    assert not (tmp_path / "out.mp4").exists()
    done.clear()
    outcome = run(recipe("out.mp4"), told.append, jobs_path=str(tmp_path / "jobs"))
    assert "analyse" not in done
    assert outcome.frame_count == 10
    assert {"render", "merge"} & {one.stage for one in told}
    assert (tmp_path / "out.mp4").exists()
    with pytest.raises(Stopped, match="Nothing was written"):
        run(recipe("other.mp4"), cancel=token)
    with pytest.raises(Stopped):
        facefusion.analyse_target(recipe("other.mp4"), cancel=token)
    assert not (tmp_path / "other.mp4").exists()


def test_pass_one_is_cancelled_between_frames():
    token, seen = CancelToken(), []

    def stop(progress):
        seen.append(progress.done)
        token.cancel()

    with pytest.raises(Stopped):
        facefusion.analyse_target(build_recipe({"target_path": CLIP}), on_progress=stop, cancel=token)
    assert len(seen) == 1


# How it is shown


def test_values_show_pictures_on_a_page_and_no_embedding(swapper, picture, few_frames, tmp_path):
    changed = swapper.change(picture)
    tracks = facefusion.analyse_target(build_recipe({"target_path": few_frames}))
    outcome = run(build_recipe({"source_paths": SOURCE, "target_path": few_frames, "output_path": tmp_path / "o.mp4"}))
    pages = {name: value._repr_html_() for name, value in
             {"changed": changed, "face": changed.faces[0], "outcome": outcome, "tracks": tracks}.items()}  # fmt: skip
    for name in ("changed", "face", "outcome"):
        (uri,) = re.findall(r'src="data:image/jpeg;base64,([^"]+)"', pages[name])
        image = Image.open(BytesIO(base64.b64decode(uri)))
        assert min(image.size) > 30
        assert max(image.size) <= 480
        assert len(pages[name]) < 80_000
    assert "1 of 1 changed" in pages["changed"]
    assert "<polygon" in pages["tracks"]
    assert "<rect" in pages["tracks"]
    numbers = [f"{float(v):.3f}" for v in changed.faces[0].embedding[:8]] + [
        f"{float(v):.3f}" for v in changed.faces[0].identity[:8]
    ]
    for page in pages.values():
        assert not any(number in page for number in numbers if abs(float(number)) > 0.01)
    (tmp_path / "o.mp4").unlink()
    assert "frames changed" in outcome._repr_html_()
    for value in (changed, changed.faces[0], outcome, tracks, tracks.tracks[0], swapper, changed.faces):
        assert len(repr(value)) < 400, repr(value)


def test_tracks_are_kept_under_a_name_that_is_a_string_too(few_frames, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tracks = facefusion.analyse_target(build_recipe({"target_path": str(few_frames)}))
    tracks.save("clip.tracks")
    assert repr(Tracks.load("clip.tracks")) == repr(tracks) == repr(Tracks.load(tmp_path / "clip.tracks"))
    for wrong in (b"clip.tracks", 3, None):
        with pytest.raises(RecipeError, match="A path is a str or a Path"):
            Tracks.load(wrong)


# Heads that lie


@pytest.mark.parametrize("quarters", [0, 1, 2, 3])
def test_whoever_lies_or_stands_on_the_head_is_hidden_and_looked_at_twice(picture, quarters, monkeypatch):
    """Turned pictures are looked at once; their mirror images only where something is found that is not upright."""
    looks = []
    looks_of = TurnedDetector.looks
    monkeypatch.setattr(TurnedDetector, "looks", lambda self, pixels: looks.append(1) or looks_of(self, pixels))
    turned = np.ascontiguousarray(np.rot90(picture, quarters))
    face = analyse_image(picture)[0].box
    hidden = np.rot90(Anonymiser(face_anonymiser_model="blackout").hide(turned), -quarters)
    x0, y0, x1, y1 = (int(v) for v in face)
    assert (hidden[y0:y1, x0:x1] == 0).all(axis=2).mean() > 0.6
    assert len(looks) == (1 if quarters == 0 else 2)


@pytest.mark.parametrize("quarters", [0, 1])
def test_looks_side_by_side_find_what_looks_one_after_the_other_find(picture, quarters, monkeypatch):
    """To the last bit, and they really are side by side: the second begins before the first is done."""
    turned = np.ascontiguousarray(np.rot90(picture, quarters))
    meeting, calls = threading.Barrier(2), count()
    detect = EmbeddedDetector.detect

    def meet(self, pixels):
        if next(calls) < 2:
            meeting.wait(60)  # fails where nobody comes
        return detect(self, pixels)

    alone, many = ({"processors": ["face_anonymiser"], "execution_thread_count": n} for n in (1, 2))
    frames = [Frame(turned, 0, 0, Fraction(1))]
    first = build_analyser(build_recipe(alone)).analyse(frames)
    monkeypatch.setattr(EmbeddedDetector, "detect", meet)
    second = build_analyser(build_recipe(many)).analyse(frames)
    assert next(calls) > 2
    assert len(first.tracks) == len(second.tracks) > 0
    for one, other in zip(first.tracks, second.tracks, strict=True):
        assert np.array_equal(one.meshes, other.meshes)
        assert np.array_equal(one.evidence, other.evidence)


class OldSequence:
    """What can be iterated over by its numbers alone."""

    def __init__(self, pictures):
        self._pictures = pictures

    def __len__(self):
        return len(self._pictures)

    def __getitem__(self, number):
        return self._pictures[number]


def test_a_batch_may_be_anything_with_numbers(swapper, picture):
    assert [one.is_changed for one in swapper.change_each(OldSequence([picture, EMPTY]))] == [True, False]


def test_a_class_does_what_it_is_called():
    with pytest.raises(RecipeError, match="A Swapper is to do face_anonymiser, and not face_swapper"):
        Swapper(SOURCE, processors=["face_anonymiser"])
    with pytest.raises(RecipeError, match="and not face_anonymiser"):
        Anonymiser(processors=["face_swapper"], sources=SOURCE)
    assert Swapper(SOURCE, processors=["face_swapper", "face_anonymiser"]).recipe.processors[1] == "face_anonymiser"


def test_who_may_be_no_face_is_told_as_rendering_takes_it(monkeypatch):
    hider = Anonymiser(face_anonymiser_model="blur")
    (face,) = hider.change(PHOTO).faces
    assert face.is_doubtful is False
    monkeypatch.setattr(
        "facefusion.pipeline.review.certainties", lambda tracks: {t.track_id: "unsure" for t in tracks.tracks}
    )
    (face,) = hider.change(PHOTO).faces
    assert face.is_doubtful is True
