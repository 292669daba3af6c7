"""How large a photo is to be printed is told by its output, wherever the photo tells it."""

from pathlib import Path

import pytest
from PIL import Image

from facefusion.media.image import read_photo, write_photo

WRITTEN = (".jpg", ".png", ".tif")


def dpi_of(path: Path) -> tuple[float, ...] | None:
    with Image.open(path) as image:
        return image.info.get("dpi")


def save(path: Path, orientation: int = 1, in_exif: tuple[float, float] | None = None, **stated: object) -> Path:
    exif = Image.Exif()
    if orientation > 1:
        exif[274] = orientation
    if in_exif:
        exif[282], exif[283], exif[296] = *in_exif, 2
    Image.new("RGB", (40, 30), "red").save(path, exif=exif, **stated)
    return path


@pytest.mark.parametrize("written", WRITTEN)
@pytest.mark.parametrize("ending", WRITTEN)
@pytest.mark.parametrize(("orientation", "wanted"), [(1, (300, 150)), (3, (300, 150)), (6, (150, 300))])
def test_resolution_is_kept(tmp_path, ending, written, orientation, wanted):
    if ending == ".tif" and orientation > 1:
        pytest.skip("Pillow turns TIFF when it loads it")
    source = save(tmp_path / f"source{ending}", orientation, dpi=(300, 150))
    write_photo(tmp_path / f"output{written}", read_photo(source))
    assert dpi_of(tmp_path / f"output{written}") == pytest.approx(wanted, abs=0.1)


@pytest.mark.parametrize("written", WRITTEN)
@pytest.mark.parametrize("ending", [".jpg", ".png"])
def test_what_the_file_states_counts_for_more_than_its_exif(tmp_path, ending, written):
    source = save(tmp_path / f"source{ending}", in_exif=(72, 72), dpi=(300, 300))
    write_photo(tmp_path / f"output{written}", read_photo(source))
    assert dpi_of(tmp_path / f"output{written}") == pytest.approx((300, 300), abs=0.1)


@pytest.mark.parametrize("ending", [".jpg", ".png"])
def test_resolution_of_exif_alone_is_kept(tmp_path, ending):
    source = save(tmp_path / f"source{ending}", in_exif=(240, 240))
    write_photo(tmp_path / f"output{ending}", read_photo(source))
    assert dpi_of(tmp_path / f"output{ending}") == pytest.approx((240, 240), abs=0.1)


@pytest.mark.parametrize("ending", [".jpg", ".png"])
@pytest.mark.parametrize("orientation", [1, 6])
def test_no_resolution_is_made_up(tmp_path, ending, orientation):
    source = save(tmp_path / f"source{ending}", orientation)
    photo = read_photo(source)
    write_photo(tmp_path / "output.png", photo, software="facefusion")
    assert dpi_of(tmp_path / "output.png") is None
