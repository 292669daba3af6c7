import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from facefusion.errors import MediaMissing, MediaUnreadable, MediaUnsupported, OutputRefused
from facefusion.media.image import FORMATS, Photo, is_photo, read_photo, write_photo


@pytest.fixture
def pixels() -> np.ndarray:
    rows, columns = np.mgrid[0:40, 0:60]
    return np.stack([rows * 6, columns * 4, rows + columns], axis=-1).astype(np.uint8)


@pytest.mark.parametrize("suffix", sorted(FORMATS))
def test_formats_round_trip(tmp_path: Path, pixels, suffix):
    path = tmp_path / f"a{suffix}"
    write_photo(path, Photo(pixels), quality=100)
    assert is_photo(path)
    tolerance = 12 if suffix in (".jpg", ".jpeg", ".webp") else 0
    assert np.abs(read_photo(path).pixels.astype(int) - pixels).max() <= tolerance
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("suffix", [".png", ".webp", ".tif"])
def test_alpha_is_kept(tmp_path: Path, pixels, suffix):
    alpha = np.full((40, 60), 255, np.uint8)
    alpha[10:20, 10:30] = 77
    write_photo(tmp_path / f"a{suffix}", Photo(pixels, alpha), quality=100)
    kept = read_photo(tmp_path / f"a{suffix}").alpha
    assert kept is not None
    np.testing.assert_array_equal(kept, alpha)


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
