import io
import struct
import subprocess
import sys
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from PIL import Image, ImageCms
from PIL.PngImagePlugin import PngInfo
from pillow_heif import register_heif_opener

from facefusion.errors import MediaMissing, MediaUnreadable, MediaUnsupported, OutputRefused
from facefusion.media.colour import build_profile, space_of, standard_range
from facefusion.media.image import FORMATS, Photo, is_photo, read_photo, write_photo

register_heif_opener()
P3 = (0.3127, 0.3290, 0.680, 0.320, 0.265, 0.690, 0.150, 0.060)


@pytest.fixture
def pixels() -> np.ndarray:
    rows, columns = np.mgrid[0:40, 0:60]
    return np.stack([rows * 6, columns * 4, rows + columns], axis=-1).astype(np.uint8)


@pytest.mark.parametrize("suffix", sorted(FORMATS))
def test_formats_round_trip(tmp_path: Path, pixels, suffix):
    path = tmp_path / f"a{suffix}"
    write_photo(path, Photo(pixels), quality=100)
    assert is_photo(path)
    tolerance = 0 if suffix in (".png", ".tif", ".tiff", ".bmp") else 14
    assert np.abs(read_photo(path).pixels.astype(int) - pixels).max() <= tolerance
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("suffix", [".png", ".webp", ".tif", ".heic", ".avif"])
def test_alpha_is_kept(tmp_path: Path, pixels, suffix):
    alpha = np.full((40, 60), 255, np.uint8)
    alpha[10:20, 10:30] = 77
    write_photo(tmp_path / f"a{suffix}", Photo(pixels, alpha), quality=100)
    kept = read_photo(tmp_path / f"a{suffix}").alpha
    assert kept is not None
    tolerance = 2 if suffix in (".heic", ".avif") else 0
    assert np.abs(kept.astype(int) - alpha).max() <= tolerance


def test_alpha_is_laid_on_white_where_the_format_has_none(tmp_path: Path, pixels):
    write_photo(tmp_path / "a.jpg", Photo(pixels, np.zeros((40, 60), np.uint8)))
    assert read_photo(tmp_path / "a.jpg").pixels.min() > 250


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied_and_not_written_again(tmp_path: Path, pixels, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    exif[0x010E] = "kept"
    Image.fromarray(pixels).save(tmp_path / "a.png", exif=exif)
    photo = read_photo(tmp_path / "a.png")
    assert photo.pixels.shape[:2] == ((40, 60) if orientation < 5 else (60, 40))
    write_photo(tmp_path / "b.png", photo, software="us")
    with Image.open(tmp_path / "b.png") as written:
        tags = written.getexif()
        assert (tags.get(0x0112, 1), tags[0x010E], tags[0x0131]) == (1, "kept", "us")
        np.testing.assert_array_equal(np.asarray(written), photo.pixels)


def test_colour_profile_is_kept(tmp_path: Path, pixels):
    Image.fromarray(pixels).save(tmp_path / "a.png", icc_profile=b"profile bytes")
    photo = read_photo(tmp_path / "a.png")
    write_photo(tmp_path / "b.jpg", photo)
    assert read_photo(tmp_path / "b.jpg").icc_profile == b"profile bytes"


@pytest.mark.parametrize("mode", ["L", "P", "1", "LA"])
def test_grey_and_palette_photos_are_read_as_rgb(tmp_path: Path, pixels, mode):
    Image.fromarray(pixels).convert("L" if mode == "LA" else mode).convert(mode).save(tmp_path / "a.png")
    assert read_photo(tmp_path / "a.png").pixels.shape == (40, 60, 3)


def test_16_bit_photos_are_refused_unless_allowed(tmp_path: Path):
    values = (np.arange(2400, dtype=np.uint16) * 27).reshape(40, 60)
    Image.fromarray(values).save(tmp_path / "a.png")
    with pytest.raises(MediaUnsupported, match="--allow-8bit"):
        read_photo(tmp_path / "a.png")
    reduced = read_photo(tmp_path / "a.png", allow_8bit=True).pixels[..., 0]
    assert np.abs(reduced.astype(int) - values // 257).max() <= 1


def test_animated_cmyk_and_far_too_large_photos_are_refused(tmp_path: Path, pixels):
    frames = [Image.fromarray(np.roll(pixels, k, axis=1)) for k in range(3)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    with pytest.raises(MediaUnsupported, match="animated"):
        read_photo(tmp_path / "a.gif")
    Image.fromarray(pixels).convert("CMYK").save(tmp_path / "a.jpg")
    with pytest.raises(MediaUnsupported, match="CMYK"):
        read_photo(tmp_path / "a.jpg")
    Image.new("1", (20000, 20000)).save(tmp_path / "big.png")
    with pytest.raises(MediaUnsupported, match="Scale it down"):
        read_photo(tmp_path / "big.png")


def test_missing_empty_and_damaged_photos_are_explained(tmp_path: Path, pixels):
    with pytest.raises(MediaMissing):
        read_photo(tmp_path / "none.png")
    (tmp_path / "empty.png").write_bytes(b"")
    with pytest.raises(MediaUnreadable, match="empty"):
        read_photo(tmp_path / "empty.png")
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG")
    (tmp_path / "cut.jpg").write_bytes(buffer.getvalue()[:400])
    with pytest.raises(MediaUnreadable):
        read_photo(tmp_path / "cut.jpg")
    (tmp_path / "text.jpg").write_text("hello")
    assert not is_photo(tmp_path / "text.jpg")


def test_one_pixel_photo_is_read(tmp_path: Path):
    Image.new("RGB", (1, 1), (9, 8, 7)).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_photo(tmp_path / "a.png").pixels, [[[9, 8, 7]]])


def test_unknown_ending_is_refused(tmp_path: Path, pixels):
    with pytest.raises(OutputRefused, match=r"\.png"):
        write_photo(tmp_path / "a.xyz", Photo(pixels))


def test_folder_and_file_without_permission_are_explained(tmp_path: Path, pixels, monkeypatch):
    from facefusion.media import files

    write_photo(tmp_path / "a.png", Photo(pixels))
    monkeypatch.setattr(files.os, "access", lambda path, mode: False)
    with pytest.raises(OutputRefused, match="cannot be written"):
        files.check_output(tmp_path / "o.png", [])
    with pytest.raises(MediaUnreadable, match="permission"):
        read_photo(tmp_path / "a.png")


# --- several pictures in one file -------------------------------------------------------------------------------------


def test_first_picture_of_an_mpo_is_the_photo_and_the_second_is_named(tmp_path: Path, pixels):
    exif = Image.Exif()
    exif[0x0112] = 6
    second = Image.fromarray(255 - pixels)
    Image.fromarray(pixels).save(
        tmp_path / "a.jpg", "MPO", save_all=True, append_images=[second], exif=exif, quality=100
    )
    assert is_photo(tmp_path / "a.jpg")
    photo = read_photo(tmp_path / "a.jpg")
    assert np.abs(photo.pixels.astype(int) - np.rot90(pixels, -1)).max() < 12
    assert "second picture" in photo.notes[0]
    write_photo(tmp_path / "b.jpg", photo, 100)
    with Image.open(tmp_path / "b.jpg") as written:
        assert (written.format, getattr(written, "n_frames", 1)) == ("JPEG", 1)


def test_pages_and_sizes_are_no_animation(tmp_path: Path, pixels):
    first, second = Image.fromarray(pixels), Image.fromarray(255 - pixels)
    first.save(tmp_path / "pages.tif", save_all=True, append_images=[second])
    photo = read_photo(tmp_path / "pages.tif")
    np.testing.assert_array_equal(photo.pixels, pixels)
    assert "further pages" in photo.notes[0]
    first.resize((64, 64)).save(tmp_path / "sizes.ico", sizes=[(16, 16), (64, 64)])
    assert read_photo(tmp_path / "sizes.ico").pixels.shape == (64, 64, 3)
    first.save(tmp_path / "a.heic", save_all=True, append_images=[second], primary_index=1, quality=100)
    photo = read_photo(tmp_path / "a.heic")
    assert np.abs(photo.pixels.astype(int) - (255 - pixels)).mean() < 6
    assert "1 more picture" in photo.notes[0]


@pytest.mark.parametrize("suffix", [".gif", ".png", ".webp", ".avif"])
def test_films_in_photo_formats_are_refused(tmp_path: Path, pixels, suffix):
    frames = [Image.fromarray(np.roll(pixels, 5 * k, axis=1)) for k in range(3)]
    frames[0].save(tmp_path / f"a{suffix}", save_all=True, append_images=frames[1:])
    with pytest.raises(MediaUnsupported, match="animated"):
        read_photo(tmp_path / f"a{suffix}")


def test_cases_of_phones_are_photos_like_any_other(tmp_path: Path, shared: Path):
    for name in ("phone_photo_with_gain_map_mpo_named.jpg", "iphone_photo.heic"):
        photo = read_photo(shared / "cases" / name)
        assert photo.pixels.shape == (512, 512, 3)
        for suffix in sorted(FORMATS):
            write_photo(tmp_path / f"a{suffix}", photo)
            assert np.abs(read_photo(tmp_path / f"a{suffix}").pixels.astype(int) - photo.pixels).mean() < 2


# --- HEIC and AVIF ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".heic", ".avif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_of_heic_and_avif_is_applied_once(tmp_path: Path, suffix, orientation):
    stored = np.zeros((64, 96, 3), np.uint8)
    stored[:32, :48] = (250, 20, 20)
    stored[32:, :48] = (20, 250, 20)
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(stored).save(tmp_path / "a.png", exif=exif)
    Image.fromarray(stored).save(tmp_path / f"a{suffix}", exif=exif.tobytes(), quality=95)
    wanted, found = read_photo(tmp_path / "a.png").pixels, read_photo(tmp_path / f"a{suffix}").pixels
    assert wanted.shape == found.shape
    assert np.abs(wanted.astype(int) - found).mean() < 12
    write_photo(tmp_path / f"b{suffix}", read_photo(tmp_path / f"a{suffix}"))
    assert np.abs(read_photo(tmp_path / f"b{suffix}").pixels.astype(int) - wanted).mean() < 12


@pytest.mark.parametrize("suffix", [".heic", ".avif", ".jpg", ".webp", ".png", ".tif"])
@pytest.mark.parametrize("target", [".heic", ".avif", ".jpg", ".webp", ".png", ".tif"])
def test_profile_exif_and_xmp_go_from_any_format_to_any_other(tmp_path: Path, pixels, suffix, target):
    exif = Image.Exif()
    exif[0x010F] = "A maker"
    exif[0x8769] = {0x9003: "2024:05:06 07:08:09", 0xA434: "A lens", 0xA005: {1: "R98"}}
    exif[0x8825] = {1: "N", 2: (48.0, 30.0, 5.0)}
    profile = build_profile(P3)
    xmp = _xmp('xmp:Label="kept" tiff:Orientation="6"').replace(b'tiff:Orientation="6"', b"")
    first = Photo(pixels, None, exif.tobytes(), profile, xmp)
    assert write_photo(tmp_path / f"a{suffix}", first) == ()
    photo = read_photo(tmp_path / f"a{suffix}")
    assert write_photo(tmp_path / f"b{target}", photo) == ()
    last = read_photo(tmp_path / f"b{target}")
    assert last.icc_profile == profile
    assert last.notes == ()
    assert last.xmp is not None and b'xmp:Label="kept"' in last.xmp
    kept = Image.Exif()
    kept.load(last.exif or b"")
    assert kept[0x010F] == "A maker"
    assert kept.get_ifd(0x8769)[0x9003] == "2024:05:06 07:08:09"
    assert kept.get_ifd(0x8769)[0xA434] == "A lens"
    assert tuple(map(float, kept.get_ifd(0x8825)[2])) == (48.0, 30.0, 5.0)
    assert kept.get_ifd(0xA005)[1] == "R98"


def test_quality_applies_to_heic_and_avif(tmp_path: Path, rng):
    noise = Photo(rng.integers(0, 255, (128, 128, 3), dtype=np.uint8))
    for suffix in (".heic", ".avif"):
        sizes = []
        for quality in (30, 95):
            write_photo(tmp_path / f"a{suffix}", noise, quality)
            sizes.append((tmp_path / f"a{suffix}").stat().st_size)
        assert sizes[0] * 2 < sizes[1]
        again = (tmp_path / f"a{suffix}").read_bytes()
        write_photo(tmp_path / f"a{suffix}", noise, 95)
        assert (tmp_path / f"a{suffix}").read_bytes() == again


def test_heic_without_a_profile_but_with_wide_colours_gets_one(tmp_path: Path, pixels):
    options = {"color_primaries": 12, "transfer_characteristics": 13, "matrix_coefficients": 6, "full_range_flag": 1}
    Image.fromarray(pixels).save(tmp_path / "a.heic", quality=95, save_nclx_profile=True, **options)
    with Image.open(tmp_path / "a.heic") as stored:
        assert stored.info["nclx_profile"]["color_primaries"] == 12
    assert read_photo(tmp_path / "a.heic").icc_profile == build_profile(P3)


# --- colours ----------------------------------------------------------------------------------------------------------


def test_pixels_of_a_wide_gamut_photo_are_not_touched(tmp_path: Path, pixels):
    Image.fromarray(pixels).save(tmp_path / "a.png", icc_profile=build_profile(P3))
    photo = read_photo(tmp_path / "a.png")
    np.testing.assert_array_equal(photo.pixels, pixels)
    assert photo.icc_profile == build_profile(P3)
    assert photo.notes == ()


def test_built_profiles_mean_what_they_say():
    for primaries, gamma in ((P3, None), (P3, 2.2)):
        profile = ImageCms.ImageCmsProfile(io.BytesIO(build_profile(primaries, gamma)))
        assert space_of(profile.tobytes()) == "RGB"
        # Apple's "Display P3" has these columns.
        np.testing.assert_allclose(profile.profile.red_colorant[0], (0.51512, 0.24120, -0.00105), atol=2e-4)
        np.testing.assert_allclose(profile.profile.blue_colorant[0], (0.15710, 0.06657, 0.78407), atol=6e-4)


def _grey_profile(gamma: float) -> bytes:
    """A version 2 profile of one grey curve."""
    curve = b"curv" + struct.pack(">IIH", 0, 1, int(gamma * 256)) + b"\0\0"
    white = b"XYZ " + struct.pack(">I3i", 0, 63190, 65536, 54061)
    words = b"grey\0"
    name = b"desc" + struct.pack(">II", 0, len(words)) + words + bytes(79)
    name += bytes(-len(name) % 4)
    table, body, at = b"", b"", 128 + 4 + 36
    for tag, value in ((b"desc", name), (b"wtpt", white), (b"kTRC", curve)):
        table += struct.pack(">4sII", tag, at + len(body), len(value))
        body += value
    head = bytearray(128)
    head[8:12], head[12:24], head[36:40] = b"\x02\x10\0\0", b"mntrGRAYXYZ ", b"acsp"
    head[68:80] = struct.pack(">3i", 63190, 65536, 54061)
    whole = bytes(head) + struct.pack(">I", 3) + table + body
    return struct.pack(">I", len(whole)) + whole[4:]


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif"])
@pytest.mark.parametrize("mode", ["L", "LA"])
def test_grey_photos_with_a_grey_profile_become_srgb(tmp_path: Path, suffix, mode):
    if (mode, suffix) == ("LA", ".jpg"):
        pytest.skip("JPEG has no alpha")
    grey = Image.fromarray(np.full((40, 60), 128, np.uint8)).convert(mode)
    grey.save(tmp_path / f"a{suffix}", icc_profile=_grey_profile(1.0))
    photo = read_photo(tmp_path / f"a{suffix}")
    assert photo.icc_profile is None
    assert "sRGB" in photo.notes[0]
    # Half of the light is 188 in sRGB.
    assert np.abs(photo.pixels.astype(int) - 188).max() <= 1
    write_photo(tmp_path / "b.jpg", photo)
    with Image.open(tmp_path / "b.jpg") as written:
        assert (written.mode, written.info.get("icc_profile")) == ("RGB", None)


def _cmyk_profile() -> bytes:
    """A print profile of a plain ink model: paper minus inks, in a table of 16 corners."""
    lab = ImageCms.buildTransform(ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB")
    ramp = bytes(range(256))
    corners = b""
    for inks in np.ndindex(2, 2, 2, 2):
        colour = tuple(255 * (1 - ink) * (1 - inks[3]) for ink in inks[:3])
        lightness, a, b = ImageCms.applyTransform(Image.new("RGB", (1, 1), colour), lab).getpixel((0, 0))
        corners += bytes([lightness, a, b])
    matrix = struct.pack(">9i", *(65536 * (k % 4 == 0) for k in range(9)))
    table = b"mft1" + struct.pack(">I4B", 0, 4, 3, 2, 0) + matrix + ramp * 4 + corners + ramp * 3
    head = bytearray(128)
    head[8:12], head[12:24], head[36:40] = b"\x02\x10\0\0", b"prtrCMYKLab ", b"acsp"
    head[68:80] = struct.pack(">3i", 63190, 65536, 54061)
    white = b"XYZ " + struct.pack(">I3i", 0, 63190, 65536, 54061)
    whole = bytes(head) + struct.pack(">I4sII4sII", 2, b"wtpt", 156, 20, b"A2B0", 176, len(table)) + white + table
    return struct.pack(">I", len(whole)) + whole[4:]


@pytest.mark.parametrize("suffix", [".jpg", ".tif"])
def test_cmyk_with_a_profile_is_converted(tmp_path: Path, suffix):
    inks = Image.new("CMYK", (16, 16), (0, 255, 255, 0))
    inks.paste((0, 0, 0, 0), (0, 0, 8, 16))
    options = {"quality": 100} if suffix == ".jpg" else {}
    inks.save(tmp_path / f"a{suffix}", icc_profile=_cmyk_profile(), **options)
    photo = read_photo(tmp_path / f"a{suffix}")
    assert photo.icc_profile is None
    assert "CMYK" in photo.notes[0]
    assert photo.pixels[2, 2].min() > 245
    red = photo.pixels[12, 14].astype(int)
    assert red[0] > 220 and red[1:].max() < 60
    inks.save(tmp_path / f"a{suffix}", icc_profile=build_profile(P3), **options)
    with pytest.raises(MediaUnsupported, match="cannot be used"):
        read_photo(tmp_path / f"a{suffix}")


def test_a_profile_of_another_kind_of_picture_is_left_out(tmp_path: Path, pixels):
    Image.fromarray(pixels).save(tmp_path / "a.png", icc_profile=_grey_profile(1.0))
    photo = read_photo(tmp_path / "a.png")
    assert photo.icc_profile is None
    assert "GRAY" in photo.notes[0]
    np.testing.assert_array_equal(photo.pixels, pixels)


def test_lab_is_converted(tmp_path: Path):
    colours = Image.new("RGB", (8, 8), (200, 80, 40))
    transform = ImageCms.buildTransform(ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB")
    ImageCms.applyTransform(colours, transform).save(tmp_path / "a.tif")
    photo = read_photo(tmp_path / "a.tif")
    assert np.abs(photo.pixels.astype(int) - (200, 80, 40)).max() <= 4
    assert "L*a*b*" in photo.notes[0]


def test_colours_that_a_png_states_by_chunks_are_kept_as_a_profile(tmp_path: Path, pixels):
    plain = io.BytesIO()
    Image.fromarray(pixels).save(plain, "PNG")
    for name, body, wanted in (
        (b"gAMA", struct.pack(">I", 100000), 1.0),
        (b"gAMA", struct.pack(">I", 45455), None),
        (b"cICP", bytes([12, 13, 0, 1]), P3),
        (b"cICP", bytes([1, 13, 0, 1]), None),
    ):
        (tmp_path / "a.png").write_bytes(_with_chunk(plain.getvalue(), name, body))
        photo = read_photo(tmp_path / "a.png")
        np.testing.assert_array_equal(photo.pixels, pixels)
        if wanted is None:
            assert photo.icc_profile is None
        elif wanted == P3:
            assert photo.icc_profile == build_profile(P3)
        else:
            assert photo.icc_profile == build_profile((0.3127, 0.3290, 0.64, 0.33, 0.30, 0.60, 0.15, 0.06), wanted)


def test_hdr_photos_are_refused_unless_allowed_and_then_have_a_sensible_white(tmp_path: Path, pixels):
    plain = io.BytesIO()
    Image.fromarray(pixels).save(plain, "PNG")
    (tmp_path / "a.png").write_bytes(_with_chunk(plain.getvalue(), b"cICP", bytes([9, 16, 0, 1])))
    with pytest.raises(MediaUnsupported, match=r"HDR.*--allow-8bit"):
        read_photo(tmp_path / "a.png")
    photo = read_photo(tmp_path / "a.png", allow_8bit=True)
    assert "standard range" in photo.notes[0]
    table = standard_range(16)
    assert (np.diff(table.astype(int)) >= 0).all()
    # 0.58 of PQ is paper white.
    assert 220 < table[148] < 250 and table[255] > 250


def test_bmp_has_no_profile_so_colours_are_converted(tmp_path: Path):
    photo = Photo(np.full((4, 4, 3), (200, 100, 50), np.uint8), icc_profile=build_profile(P3))
    assert "sRGB" in write_photo(tmp_path / "a.bmp", photo)[0]
    assert read_photo(tmp_path / "a.bmp").pixels[0, 0, 0] > 210


# --- bits -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_16_bits_are_rounded_not_cut(tmp_path: Path, rng, suffix, channels):
    values = rng.integers(0, 65536, (50, 70, channels), dtype=np.uint16)
    cv2.imwrite(str(tmp_path / f"a{suffix}"), values[..., [2, 1, 0, 3][:channels]] if channels > 1 else values)
    with pytest.raises(MediaUnsupported, match=r"16 bits.*--allow-8bit"):
        read_photo(tmp_path / f"a{suffix}")
    photo = read_photo(tmp_path / f"a{suffix}", allow_8bit=True)
    wanted = np.round(values / 257).astype(np.uint8)
    np.testing.assert_array_equal(photo.pixels, wanted[..., :3] if channels > 1 else np.repeat(wanted, 3, axis=2))
    if channels == 4:
        np.testing.assert_array_equal(photo.alpha, wanted[..., 3])


def test_dark_16_bit_photos_stay_dark_and_white_is_zero_is_turned(tmp_path: Path):
    values = np.full((20, 20), 200, np.uint16)
    for suffix in (".png", ".tif"):
        Image.fromarray(values).save(tmp_path / f"a{suffix}")
        assert read_photo(tmp_path / f"a{suffix}", allow_8bit=True).pixels.max() == 1
    Image.fromarray(values).save(tmp_path / "w.tif", tiffinfo={262: 0})
    assert read_photo(tmp_path / "w.tif", allow_8bit=True).pixels.min() == 254


def test_real_numbers_are_read_from_0_to_1_only(tmp_path: Path):
    Image.fromarray(np.full((8, 8), 0.5, np.float32)).save(tmp_path / "a.tif")
    assert read_photo(tmp_path / "a.tif", allow_8bit=True).pixels[0, 0, 0] == 128
    Image.fromarray(np.full((8, 8), 500.0, np.float32)).save(tmp_path / "a.tif")
    with pytest.raises(MediaUnsupported, match="white"):
        read_photo(tmp_path / "a.tif", allow_8bit=True)


@pytest.mark.parametrize("suffix", [".heic", ".avif"])
def test_10_bits_of_heic_and_avif_are_found(tmp_path: Path, pixels, suffix):
    if suffix == ".heic":
        from pillow_heif import from_bytes

        wide = np.ascontiguousarray(pixels.astype(np.uint16) << 8)
        from_bytes("RGB;16", (60, 40), wide.tobytes()).save(tmp_path / "a.heic", quality=95)
    else:
        picture = np.kron(pixels, np.ones((4, 4, 1), np.uint8))
        with av.open(str(tmp_path / "a.avif"), "w", format="avif") as output:
            stream = output.add_stream("libsvtav1", rate=1, options={"crf": "5"})
            stream.width, stream.height, stream.pix_fmt = 240, 160, "yuv420p10le"  # type: ignore[attr-defined]
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format="yuv420p10le")
            output.mux(stream.encode(frame))  # type: ignore[attr-defined]
            output.mux(stream.encode(None))  # type: ignore[attr-defined]
        pixels = picture
    with pytest.raises(MediaUnsupported, match=r"1[02] bits"):
        read_photo(tmp_path / f"a{suffix}")
    found = read_photo(tmp_path / f"a{suffix}", allow_8bit=True).pixels
    assert np.abs(found.astype(int) - pixels).mean() < 6


def test_transparent_palettes_and_keys_are_alpha(tmp_path: Path, pixels):
    palette = Image.fromarray(pixels).quantize(16)
    palette.save(tmp_path / "a.png", transparency=3)
    index = np.asarray(palette)
    np.testing.assert_array_equal(read_photo(tmp_path / "a.png").alpha == 0, index == 3)
    key = tuple(int(v) for v in pixels[7, 9])
    Image.fromarray(pixels).save(tmp_path / "b.png", transparency=key)
    np.testing.assert_array_equal(read_photo(tmp_path / "b.png").alpha == 0, (pixels == key).all(axis=2))


# --- metadata ---------------------------------------------------------------------------------------------------------


def _xmp(attributes: str, inner: str = "") -> bytes:
    return (
        '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF '
        'xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about="" '
        'xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmlns:tiff="http://ns.adobe.com/tiff/1.0/" '
        'xmlns:xmpGImg="http://ns.adobe.com/xap/1.0/g/img/" xmlns:GDepth="http://ns.google.com/photos/1.0/depthmap/" '
        f'xmlns:hdrgm="http://ns.adobe.com/hdr-gain-map/1.0/" {attributes}>{inner}</rdf:Description></rdf:RDF>'
        '</x:xmpmeta><?xpacket end="w"?>'
    ).encode()


def test_orientation_that_only_xmp_knows_is_applied_and_gone(tmp_path: Path, pixels):
    Image.fromarray(pixels).save(tmp_path / "a.jpg", xmp=_xmp('tiff:Orientation="6" xmp:Label="kept"'), quality=100)
    photo = read_photo(tmp_path / "a.jpg")
    assert photo.pixels.shape == (60, 40, 3)
    write_photo(tmp_path / "b.jpg", photo)
    assert read_photo(tmp_path / "b.jpg").pixels.shape == (60, 40, 3)
    assert b"Orientation" not in (tmp_path / "b.jpg").read_bytes()
    assert b'xmp:Label="kept"' in (tmp_path / "b.jpg").read_bytes()


@pytest.mark.parametrize("target", [".jpg", ".png", ".webp", ".tif", ".heic", ".avif"])
def test_previews_of_the_old_picture_are_never_carried(tmp_path: Path, pixels, target):
    thumbnail = io.BytesIO()
    Image.fromarray(pixels).resize((16, 16)).save(thumbnail, "JPEG")
    inner = (
        '<xmp:Thumbnails><rdf:Alt><rdf:li xmpGImg:image="OLDFACE1"/></rdf:Alt></xmp:Thumbnails>'
        "<GDepth:Data>OLDFACE2</GDepth:Data>"
    )
    xmp = _xmp('xmp:Label="kept" hdrgm:Version="1.0" GDepth:Mime="OLDFACE3"', inner)
    Image.fromarray(pixels).save(tmp_path / "a.jpg", exif=_exif_with_thumbnail(thumbnail.getvalue()), xmp=xmp)
    assert (tmp_path / "a.jpg").read_bytes().count(b"\xff\xd8\xff") == 3
    photo = read_photo(tmp_path / "a.jpg")
    assert photo.exif is not None and b"maker" in photo.exif
    write_photo(tmp_path / f"b{target}", photo)
    raw = (tmp_path / f"b{target}").read_bytes()
    assert b"OLDFACE" not in raw and b"hdrgm:Version" not in raw
    assert raw.count(b"\xff\xd8\xff") == (1 if target == ".jpg" else 0)
    assert thumbnail.getvalue()[20:200] not in raw
    assert b"kept" in raw or target == ".png"


def _exif_with_thumbnail(thumbnail: bytes) -> bytes:
    """Two directories by hand: Make and a maker's note with a preview, and a thumbnail as cameras write it."""
    note = b"NOTE" + thumbnail
    make, about = 8 + 2 + 24 + 4, 8 + 2 + 24 + 4 + 8
    second = about + 2 + 12 + 4 + len(note) + len(note) % 2
    first = struct.pack("<HHHIIHHIII", 2, 0x010F, 2, 6, make, 0x8769, 4, 1, about, second) + b"maker\0\0\0"
    middle = struct.pack("<HHHIII", 1, 0x927C, 7, len(note), about + 18, 0) + note + bytes(len(note) % 2)
    last = struct.pack("<HHHIIHHIII", 2, 0x0201, 4, 1, second + 30, 0x0202, 4, 1, len(thumbnail), 0)
    return b"Exif\0\0II*\0" + struct.pack("<I", 8) + first + middle + last + thumbnail


def test_size_in_exif_follows_the_upright_picture(tmp_path: Path, pixels):
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x8769] = {0xA002: 60, 0xA003: 40}
    Image.fromarray(pixels).save(tmp_path / "a.jpg", exif=exif)
    kept = Image.Exif()
    kept.load(read_photo(tmp_path / "a.jpg").exif or b"")
    assert (kept.get_ifd(0x8769)[0xA002], kept.get_ifd(0x8769)[0xA003]) == (40, 60)


def test_a_tiff_describes_itself_and_not_its_target(tmp_path: Path, pixels):
    info = {270: "words", 34377: b"8BIM photoshop", 330: 99, 700: _xmp('xmp:Label="kept"'), 33723: b"IPTC old"}
    Image.fromarray(pixels).save(tmp_path / "a.tif", tiffinfo=info, compression="tiff_adobe_deflate")
    photo = read_photo(tmp_path / "a.tif")
    for suffix in (".jpg", ".tif", ".png"):
        write_photo(tmp_path / f"b{suffix}", photo, 100, "us")
        raw = (tmp_path / f"b{suffix}").read_bytes()
        assert b"photoshop" not in raw and b"IPTC" not in raw
        with Image.open(tmp_path / f"b{suffix}") as written:
            assert (written.getexif()[270], written.getexif()[0x0131]) == ("words", "us")
            assert written.size == (60, 40)
    np.testing.assert_array_equal(read_photo(tmp_path / "b.tif").pixels, pixels)


def test_exif_and_xmp_that_do_not_fit_into_a_jpeg_are_named(tmp_path: Path, pixels):
    exif = Image.Exif()
    exif[0x010F] = "maker"
    exif[0x8769] = {0x927C: bytes(50_000), 0x9286: bytes(30_000)}
    large = _xmp("", f"<xmp:Label>{'x' * 70_000}</xmp:Label>")
    Image.fromarray(pixels).save(tmp_path / "a.png", exif=exif)
    photo = read_photo(tmp_path / "a.png")
    notes = write_photo(tmp_path / "b.jpg", Photo(pixels, exif=photo.exif, xmp=large))
    assert [word in " ".join(notes) for word in ("maker's notes", "XMP", "comment")] == [True, True, False]
    with Image.open(tmp_path / "b.jpg") as written:
        assert written.getexif()[0x010F] == "maker"
        assert 0x9286 in written.getexif().get_ifd(0x8769)


def test_texts_of_a_png_and_comment_of_a_jpeg_are_kept(tmp_path: Path, pixels):
    info = PngInfo()
    info.add_text("Title", "a title")
    info.add_itxt("Author", "Zoë 名")
    info.add_text("Raw profile type exif", "\nexif\n 2\n4d4d\n")
    Image.fromarray(pixels).save(tmp_path / "a.png", pnginfo=info)
    write_photo(tmp_path / "b.png", read_photo(tmp_path / "a.png"))
    with Image.open(tmp_path / "b.png") as written:
        written.load()
        assert written.text == {"Title": "a title", "Author": "Zoë 名"}  # type: ignore[attr-defined]
    assert "Damaged EXIF" in read_photo(tmp_path / "a.png").notes[0]
    Image.fromarray(pixels).save(tmp_path / "a.jpg", comment=b"a comment")
    write_photo(tmp_path / "b.jpg", read_photo(tmp_path / "a.jpg"))
    with Image.open(tmp_path / "b.jpg") as written:
        assert written.info["comment"] == b"a comment"


def test_hostile_xmp_is_left_out_and_said(tmp_path: Path, pixels):
    bomb = b'<!DOCTYPE x [<!ENTITY a "aaaa">]><x:xmpmeta xmlns:x="adobe:ns:meta/">&a;</x:xmpmeta>'
    deep = b"<a>" * 5000 + b"</a>" * 5000
    for xmp in (bomb, deep, b"<not xml"):
        Image.fromarray(pixels).save(tmp_path / "a.jpg", xmp=xmp)
        photo = read_photo(tmp_path / "a.jpg")
        assert photo.xmp is None
        assert "XMP" in photo.notes[0]


# --- damage and limits ------------------------------------------------------------------------------------------------


def test_raw_data_of_cameras_is_refused(tmp_path: Path, pixels):
    Image.fromarray(pixels).save(tmp_path / "a.dng", "TIFF", tiffinfo={50706: bytes([1, 4, 0, 0])})
    with pytest.raises(MediaUnsupported, match="Develop"):
        read_photo(tmp_path / "a.dng")
    heads = {
        b"II*\0\x10\0\0\0CR\x02\0": "raw",
        b"\0\0\0\x18ftypcrx \0\0\0\1": "raw",
        b"IIU\0": "raw",
        b"\xff\x0a": "XL",
    }
    for head, name in heads.items():
        (tmp_path / "b").write_bytes(head + bytes(80))
        assert is_photo(tmp_path / "b")
        with pytest.raises(MediaUnsupported, match=name):
            read_photo(tmp_path / "b")


def test_a_file_that_begins_as_a_photo_is_a_damaged_photo(tmp_path: Path):
    for head in (b"\xff\xd8\xff\xe0", b"\x89PNG\r\n\x1a\n", b"II*\0", b"RIFF\0\0\0\0WEBP", b"\0\0\0\x18ftypheic"):
        (tmp_path / "a").write_bytes(head + bytes(40))
        assert is_photo(tmp_path / "a")
        with pytest.raises(MediaUnreadable, match="damaged"):
            read_photo(tmp_path / "a")


def test_sides_that_a_format_cannot_hold_are_refused(tmp_path: Path):
    with pytest.raises(OutputRefused, match="16383"):
        write_photo(tmp_path / "a.webp", Photo(np.zeros((1, 20000, 3), np.uint8)))
    write_photo(tmp_path / "a.png", Photo(np.zeros((1, 20000, 3), np.uint8)))


@pytest.mark.parametrize("suffix", [".heic", ".avif", ".tif"])
def test_far_too_large_photos_are_refused_before_they_are_decoded(tmp_path: Path, suffix, monkeypatch):
    from facefusion.media import image

    monkeypatch.setattr(image, "MAX_PIXELS", 5_000)
    Image.new("RGB", (100, 60)).save(tmp_path / f"a{suffix}")
    monkeypatch.setattr(Image.Image, "load", lambda self: pytest.fail("it was decoded"))
    with pytest.raises(MediaUnsupported, match="Scale it down"):
        read_photo(tmp_path / f"a{suffix}")


def _with_chunk(png: bytes, name: bytes, body: bytes) -> bytes:
    import zlib

    chunk = struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
    return png[:33] + chunk + png[33:]


def test_bombs_in_chunks_are_refused_in_little_memory(tmp_path: Path, pixels):
    import zlib

    plain = io.BytesIO()
    Image.fromarray(pixels).save(plain, "PNG")
    bomb = zlib.compress(bytes(200_000_000), 9)
    for name, head in ((b"zTXt", b"a\0\0"), (b"iCCP", b"a\0\0"), (b"iTXt", b"a\0\1\0\0\0")):
        (tmp_path / "a.png").write_bytes(_with_chunk(plain.getvalue(), name, head + bomb))
        try:
            photo = read_photo(tmp_path / "a.png")
        except MediaUnreadable as error:
            assert "damaged" in error.message
        else:
            assert len(photo.icc_profile or b"") + sum(len(value) for _, value in photo.text) < 10_000_000


MUTATE = """
import random, sys, warnings
from pathlib import Path
import numpy as np
from PIL import Image
from facefusion.errors import FaceFusionError
from facefusion.media.image import FORMATS, Photo, is_photo, read_photo, write_photo
from facefusion.media.privacy import clean_photo

warnings.simplefilter("ignore")
folder, chance, endings = Path(sys.argv[1]), random.Random(5), sorted(FORMATS)
sound = {path: path.read_bytes() for path in sorted(folder.glob("sound*"))}
read = 0
for number in range(300):
    path = list(sound)[number % len(sound)]
    raw = bytearray(sound[path])
    for _ in range(chance.randrange(1, 3)):
        at = chance.randrange(len(raw))
        what = chance.randrange(8)
        if what <= 3:
            raw[at] = chance.randrange(256)
        elif what <= 5:
            raw[at : at + 4] = chance.choice([b"\\xff\\xff\\xff\\xff", b"\\x7f\\xff\\xff\\xff", bytes(4)])
        elif what == 6:
            del raw[at : at + chance.randrange(1, 40)]
        elif len(raw) > 40:
            raw = raw[: max(at, 30)]
    broken = folder / f"broken{path.suffix}"
    broken.write_bytes(raw)
    try:
        if is_photo(broken):
            photo = read_photo(broken, allow_8bit=True)
            read += 1
            write_photo(folder / f"out{chance.choice(endings)}", clean_photo(photo)[0])
            write_photo(folder / f"out{chance.choice(endings)}", photo)
    except FaceFusionError as error:
        assert error.message and error.hint
print("read", read)
"""


def test_mutated_photos_end_in_our_errors_or_in_photos(tmp_path: Path, pixels):
    exif = Image.Exif()
    exif[0x010F], exif[0x0112], exif[0x8769] = "maker", 6, {0x927C: b"note" * 20, 0xA002: 60, 0xA005: {1: "R98"}}
    told = Photo(pixels[:24, :32], pixels[:24, :32, 0], exif.tobytes(), build_profile(P3), _xmp('xmp:Label="kept"'))
    for suffix in FORMATS:
        write_photo(tmp_path / f"sound{suffix}", told)
    cv2.imwrite(str(tmp_path / "sound16.png"), pixels.astype(np.uint16) * 257)
    cv2.imwrite(str(tmp_path / "sound16.tif"), pixels.astype(np.uint16) * 257)
    Image.fromarray(pixels).convert("1").save(tmp_path / "soundfax.tif", compression="group4")
    Image.fromarray(pixels).save(tmp_path / "sound.gif")
    Image.fromarray(pixels).save(tmp_path / "sound.jp2")
    done = subprocess.run([sys.executable, "-c", MUTATE, str(tmp_path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert int(done.stdout.split()[-1]) > 50
