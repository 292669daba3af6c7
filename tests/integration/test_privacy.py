"""Anonymised media tell nothing beside their picture: outputs are searched for every secret, as raw bytes."""

import base64
import io
import struct
import time
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image, ImageCms
from PIL.PngImagePlugin import PngInfo

from facefusion.jobs.local import LocalJobs
from facefusion.jobs.once import run
from facefusion.media.colour import bare_profile, build_profile, convert_to_srgb
from facefusion.media.image import Photo, parts_behind, read_photo, write_photo
from facefusion.media.metadata import add_to_tiff, bytes_behind
from facefusion.media.privacy import (
    clean_chapters,
    clean_exif,
    clean_extradata,
    clean_photo,
    clean_tags,
    kinds_of_tags,
    say_left_out,
    say_removed,
)
from facefusion.media.reader import ClipReader
from facefusion.recipe import build_recipe
from facefusion.testing.clips import make_clip
from facefusion.testing.fakes import sample_path
from facefusion.testing.provenance import content_of

LATITUDE = (Fraction(48), Fraction(51), Fraction(29597, 1000))
P3 = build_profile((0.3127, 0.3290, 0.680, 0.320, 0.265, 0.690, 0.150, 0.060))


def telling_profile() -> bytes:
    """The profile of a screen with the name of its owner and its serial number."""
    (count,) = struct.unpack_from(">I", P3, 128)
    table = b""
    for number in range(count):
        name, offset, size = struct.unpack_from(">4sII", P3, 132 + 12 * number)
        table += struct.pack(">4sII", name, offset + 24, size)
    words = "SECRET screen".encode("utf-16-be")
    told = b"mluc" + struct.pack(">III4sII", 0, 1, 12, b"enUS", len(words), 28) + words + b"\0\0"
    place = len(P3) + 24
    table += struct.pack(">4sII4sII", b"dmdd", place, len(told), b"mmod", place + len(told), 40)
    head = (
        struct.pack(">I", place + len(told) + 40) + b"SECR" + P3[8:48] + b"SECRSECR" + P3[56:80] + b"SECR" + P3[84:128]
    )
    return (
        head
        + struct.pack(">I", count + 2)
        + table
        + P3[132 + 12 * count :]
        + told
        + b"mmod\0\0\0\0"
        + b"SECRET" * 5
        + bytes(2)
    )


PROFILE = telling_profile()
FORMATS = [".jpg", ".png", ".webp", ".tif", ".heic", ".avif"]


def find_secrets(raw: bytes) -> list[str]:
    """Every secret that is in some bytes, in any of the ways that files write them."""
    found = [
        word
        for word in ("SECRET", "2024:05:06", "2024-05-06", "+48.8582", "48.8582")
        for coded in (word.encode(), word.encode("utf-16-le"), word.encode("utf-16-be"), word.encode().hex().encode())
        if coded in raw
    ]
    found += ["base64"] * (base64.b64encode(b"SECRETSECRET")[:8] in raw)
    found += ["gps"] * any(struct.pack(order + "II", 29597, 1000) in raw for order in "<>")
    return found


def telling_exif() -> bytes:
    """Every tag of EXIF with a secret in it, and some of no one's."""
    exif = Image.Exif()
    for tag in (0x010D, 0x010E, 0x010F, 0x0110, 0x0131, 0x013B, 0x013C, 0x8298, 0xC614, 0xC62F):
        exif[tag] = f"SECRET {tag:x}"
    exif[0x0132] = "2024:05:06 07:08:09"
    for tag in (0x9C9B, 0x9C9C, 0x9C9D, 0x9C9E, 0x9C9F):
        exif[tag] = "SECRET".encode("utf-16-le")
    exif[0x0112], exif[0x011A], exif[0x0128] = 1, 300.0, 2
    about: dict[int, object] = {
        tag: f"SECRET {tag:x}" for tag in (0xA420, *range(0xA430, 0xA43C), 0xFDE8) if tag != 0xA432
    }
    for tag in (0x9003, 0x9004):
        about[tag] = "2024:05:06 07:08:09"
    about[0x9286], about[0x927C] = b"ASCII\0\0\0SECRET", b"SECRET maker note"
    about[0xA001], about[0x9000], about[0x829A] = 1, b"0232", 0.01
    exif[0x8769] = about
    exif[0x8825] = {1: "N", 2: LATITUDE, 3: "E", 4: LATITUDE, 27: b"SECRET", 29: "2024:05:06"}
    return exif.tobytes()


TELLING_XMP = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    b'<rdf:Description rdf:about="" xmlns:exif="http://ns.adobe.com/exif/1.0/" '
    b'xmlns:dc="http://purl.org/dc/elements/1.1/" '
    b'exif:GPSLatitude="48,51.4932N SECRET"><dc:creator>SECRET</dc:creator></rdf:Description></rdf:RDF></x:xmpmeta>'
)


def telling_photo(path: Path, pixels: np.ndarray) -> None:
    """A photo that tells all that its format can tell."""
    image, kind = Image.fromarray(pixels), path.suffix
    if kind == ".jpg":
        # Photoshop's block with IPTC, and a thumbnail in EXIF.
        block = b"Photoshop 3.0\0" + b"8BIM\x04\x04\0\0\0\0\0\x0b\x1c\x02\x50\0\x06SECRET"
        image.save(path, exif=telling_exif(), xmp=TELLING_XMP, comment=b"SECRET", icc_profile=PROFILE)
        raw = path.read_bytes()
        path.write_bytes(
            raw[:2] + b"\xff\xed" + struct.pack(">H", len(block) + 2) + block + raw[2:] + b"SECRET trailer"
        )
    elif kind == ".png":
        texts = PngInfo()
        texts.add_text("Author", "SECRET")
        texts.add_text("Comment", "SECRET" * 50, zip=True)
        texts.add_itxt("Description", "SECRET ü")
        texts.add_itxt("XML:com.adobe.xmp", TELLING_XMP.decode())
        texts.add(b"tIME", struct.pack(">H5B", 2024, 5, 6, 7, 8, 9))
        image.save(path, exif=telling_exif(), pnginfo=texts, icc_profile=PROFILE)
    elif kind == ".tif":
        info = {
            270: "SECRET",
            315: "SECRET",
            33432: "SECRET",
            33723: b"\x1c\x02\x50\0\x06SECRET",
            34377: b"8BIM SECRET",
        }
        image.save(path, tiffinfo=info, icc_profile=PROFILE)
        raw = path.read_bytes()
        added = add_to_tiff(raw, telling_exif(), TELLING_XMP)
        assert added is not None
        path.write_bytes(raw[:4] + struct.pack("<I", added[1]) + raw[8:] + bytes(len(raw) % 2) + added[0])
    else:
        write_photo(path, Photo(pixels, None, telling_exif(), PROFILE, TELLING_XMP))
    assert "SECRET" in find_secrets(path.read_bytes())
    assert kind == ".heic" or "gps" in find_secrets(path.read_bytes())


@pytest.fixture
def pixels() -> np.ndarray:
    rows, columns = np.mgrid[0:40, 0:60]
    return np.stack([rows * 6, columns * 4, rows + columns], axis=-1).astype(np.uint8)


@pytest.mark.parametrize("target", FORMATS)
@pytest.mark.parametrize("suffix", FORMATS)
def test_a_clean_photo_has_its_picture_and_profile_and_nothing_else(tmp_path: Path, pixels, suffix, target):
    telling_photo(tmp_path / f"a{suffix}", pixels)
    photo = read_photo(tmp_path / f"a{suffix}")
    clean, kinds = clean_photo(photo)
    assert {"GPS position", "owner and author", "serial numbers", "camera", "dates", "comments", "XMP"} <= set(kinds)
    write_photo(tmp_path / f"b{target}", clean, 100, "us")
    raw = (tmp_path / f"b{target}").read_bytes()
    assert find_secrets(raw) == []
    last = read_photo(tmp_path / f"b{target}")
    assert last.icc_profile == bare_profile(PROFILE) and b"SECR" not in raw
    kept = Image.Exif()
    kept.load(last.exif or b"")
    assert set(kept) == {0x011A, 0x0128, 0x0131, 0x8769}
    assert set(kept.get_ifd(0x8769)) <= {0x9000, 0xA001}


def test_a_bare_profile_means_the_same_colours(pixels):
    for profile in (PROFILE, P3, ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()):
        bare = bare_profile(profile)
        assert bare is not None and bare_profile(bare) == bare
        before, after = convert_to_srgb(profile, "RGB"), convert_to_srgb(bare, "RGB")
        assert before is not None and after is not None
        np.testing.assert_array_equal(before(Image.fromarray(pixels)), after(Image.fromarray(pixels)))
    for broken in (b"", b"profile bytes", P3[:140], P3[:128] + b"\xff" * 60):
        assert bare_profile(broken) is None


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp"])
@pytest.mark.parametrize("is_thumbnail", [False, True])
@pytest.mark.parametrize("behind", [b"", b"\0" * 32, b"\xff\xd8\xff\xe0 another picture"])
def test_small_pictures_and_what_lies_behind_a_picture_are_named(tmp_path, pixels, suffix, is_thumbnail, behind):
    path, exif = tmp_path / f"a.{suffix}", Image.Exif()
    exif[0x0112] = 1
    block = exif.tobytes()
    if is_thumbnail:  # a second directory behind the first: an offset and a length of a JPEG
        tiff = block.removeprefix(b"Exif\0\0")
        order = "<" if tiff[:2] == b"II" else ">"
        (first,) = struct.unpack_from(f"{order}I", tiff, 4)
        (count,) = struct.unpack_from(f"{order}H", tiff, first)
        at, end = first + 2 + 12 * count, len(tiff)
        more = struct.pack(f"{order}HHHIIHHIII", 2, 0x0201, 4, 1, end + 30, 0x0202, 4, 1, 3, 0)
        block = b"Exif\0\0" + tiff[:at] + struct.pack(f"{order}I", end) + tiff[at + 4 :] + more + b"\xff\xd8\xff"
    Image.fromarray(pixels).save(path, exif=block)
    path.write_bytes(path.read_bytes() + behind)
    parts = read_photo(path).small_parts + parts_behind(path)
    assert parts_behind(path.read_bytes()) == parts_behind(path)
    named = ["a thumbnail"] * is_thumbnail + [f"{len(behind)} bytes behind the picture"] * bool(behind.strip(b"\0"))
    assert list(parts) == named
    assert say_left_out(parts) == ((f"The file also had {' and '.join(named)}; the output does not.",) if named else ())
    assert bytes_behind(path.read_bytes()[:60]) == 0  # cut off


@pytest.mark.parametrize(
    "content",
    [
        b"\xff\xd8" + b"\xff" * 8_000_000,
        b"\xff\xd8" + b"\xff\x00" * 4_000_000,
        b"\xff\xd8" + b"\xff\xe0\x00\x02" * 2_000_000,
        b"\x89PNG\r\n\x1a\n" + (b"\0\0\0\0IDAT" + b"\0" * 4) * 600_000,
    ],
)
def test_what_is_behind_a_picture_is_found_in_no_time_in_any_file(content):
    start = time.process_time()
    assert bytes_behind(content) == 0
    assert time.process_time() - start < 0.6


def test_a_photo_is_read_a_second_time_only_where_it_is_told(monkeypatch, tmp_path):
    path = tmp_path / "p.png"
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(path)
    monkeypatch.setattr("facefusion.media.metadata.bytes_behind", lambda content: pytest.fail("it was read"))
    assert read_photo(path).small_parts == ()


def test_exif_that_is_damaged_is_left_out_of_private_photos():
    for block in (b"Exif\0\0II*\0\x08\0\0\0\xff\xff", b"Exif\0\0nonsense", b"SECRET"):
        kept, _ = clean_exif(block)
        assert kept is None or find_secrets(kept) == []


def test_values_where_numbers_should_be_do_not_slip_through():
    # Resolution and colour space are words here, and the version is as long as a name.
    block = b"Exif\0\0II*\0" + struct.pack("<I", 8)
    block += struct.pack("<HHHIIHHIII", 2, 0x011A, 2, 7, 80, 0x8769, 4, 1, 38, 0)
    block += struct.pack("<HHHIIHHIII", 2, 0x9000, 7, 7, 80, 0xA001, 2, 7, 80, 0)
    block += bytes(80 + 6 - len(block)) + b"SECRET\0"
    loaded = Image.Exif()
    loaded.load(block)
    assert loaded[0x011A] == loaded.get_ifd(0x8769)[0xA001] == "SECRET"
    assert clean_exif(block)[0] is None


def test_tags_of_clips_are_allowed_by_name():
    tags = {"LANGUAGE": "eng", "alpha_mode": "1", "title": "SECRET", "anything": "SECRET", "language": "SECRET" * 9}
    assert clean_tags(tags) == {"LANGUAGE": "eng", "alpha_mode": "1"}
    assert kinds_of_tags({"com.apple.quicktime.location.ISO6709": "x", "com.apple.quicktime.model": "y"}) == (
        "GPS position",
        "camera",
    )
    assert kinds_of_tags({"encoder": "Lavf", "handler_name": "VideoHandler", "major_brand": "isom"}) == ()
    assert clean_chapters([{"id": 1, "start": 0, "end": 9, "metadata": {"title": "SECRET"}}]) == [
        {"id": 1, "start": 0, "end": 9, "metadata": {}}
    ]
    assert say_removed(()) == ()
    assert "--keep-metadata" in say_removed(("dates", "GPS position"))[0]
    assert "(GPS position, dates)" in say_removed(("dates", "GPS position"))[0]


def _with_comment(extradata: bytes, text: bytes) -> bytes:
    """Vorbis headers with a comment of somebody."""
    first, second = extradata[1], extradata[2]
    heads = extradata[3:]
    body = b"\x03vorbis" + struct.pack("<I", 6) + b"SECRET" + struct.pack("<II", 1, len(text)) + text + b"\x01"
    lengths = bytes([first]) + b"\xff" * (len(body) // 255) + bytes([len(body) % 255])
    return b"\x02" + lengths + heads[:first] + body + heads[first + second :]


def write_telling_clip(path: Path, frames: list[np.ndarray], has_sound: bool = True) -> None:
    """A clip with every tag, a telling track and telling chapters."""
    options = {"movflags": "use_metadata_tags"} if path.suffix in (".mp4", ".mov") else {}
    with av.open(str(path), "w", options=options) as output:
        output.metadata.update(
            {
                "title": "SECRET", "artist": "SECRET", "author": "SECRET", "copyright": "SECRET", "comment": "SECRET",
                "description": "SECRET", "synopsis": "SECRET", "make": "SECRET", "model": "SECRET", "album": "SECRET",
                "location": "+48.8582+002.2945/", "location-eng": "+48.8582+002.2945/", "date": "2024-05-06",
                "creation_time": "2024-05-06T07:08:09.000000Z", "com.apple.quicktime.location.ISO6709": "+48.8582/",
                "com.apple.quicktime.make": "SECRET", "com.android.version": "SECRET", "SERIAL": "SECRET",
            }
        )  # fmt: skip
        stream = output.add_stream("libx264", rate=25)
        stream.height, stream.width = frames[0].shape[:2]  # type: ignore[attr-defined]
        stream.pix_fmt = "yuv420p"  # type: ignore[attr-defined]
        stream.metadata.update(
            {"title": "SECRET", "handler_name": "SECRET", "language": "eng", "creation_time": "2024-05-06T07:08:09Z"}
        )
        step = Fraction(1, 1000)
        output.set_chapters(
            [
                {"id": 1, "start": 0, "end": 100, "time_base": step, "metadata": {"title": "SECRET"}},
                {"id": 2, "start": 100, "end": 200, "time_base": step, "metadata": {"title": "SECRET"}},
            ]
        )
        sound = output.add_stream("aac", rate=48000, layout="stereo") if has_sound else None
        if sound is not None:
            sound.metadata.update({"title": "SECRET", "language": "deu", "handler_name": "SECRET", "SECRET": "SECRET"})
        for number, pixels in enumerate(frames):
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
            picture.pts, picture.time_base = number, Fraction(1, 25)
            output.mux(stream.encode(picture))  # type: ignore[attr-defined]
        output.mux(stream.encode(None))  # type: ignore[attr-defined]
        if sound is not None:
            for number in range(8):
                part = av.AudioFrame.from_ndarray(np.zeros((2, 1024), np.float32), format="fltp", layout="stereo")
                part.sample_rate, part.pts, part.time_base = 48000, 1024 * number, Fraction(1, 48000)
                output.mux(sound.encode(part))
            output.mux(sound.encode(None))
    assert len(set(find_secrets(path.read_bytes()))) >= 2


@pytest.fixture(scope="module")
def faces() -> list[np.ndarray]:
    return [frame.pixels for frame, _ in zip(ClipReader(sample_path("target.mp4")), range(8), strict=False)]


def hide(target: Path, output: Path, **options):
    """Anonymise with the plainest of models."""
    values = {
        "processors": ("face_anonymiser",),
        "face_anonymiser_model": "blackout",
        "output_video_preset": "ultrafast",
    }
    return build_recipe({**values, "target_path": target, "output_path": output, **options})


@pytest.mark.parametrize(("suffix", "target"), [(".mkv", ".mkv"), (".mkv", ".mp4"), (".mov", ".mov"), (".mp4", ".mkv")])
def test_an_anonymised_clip_tells_nothing_and_says_so(tmp_path: Path, faces, suffix, target):
    write_telling_clip(tmp_path / f"a{suffix}", faces)
    outcome = run(hide(tmp_path / f"a{suffix}", tmp_path / f"b{target}"))
    assert outcome.changed_frame_count == len(faces)
    assert find_secrets((tmp_path / f"b{target}").read_bytes()) == []
    assert "GPS position" in outcome.notes[0] and "--keep-metadata" in outcome.notes[0]
    with av.open(str(tmp_path / f"b{target}")) as written:
        tags = {name.lower(): value for name, value in written.metadata.items()}
        assert "Faces changed" in tags["comment"]
        assert set(tags) <= {"comment", "encoder", "major_brand", "minor_version", "compatible_brands"}
        assert [stream.type for stream in written.streams] in (["video", "audio"], ["video", "audio", "data"])
        with av.open(str(tmp_path / f"a{suffix}")) as told:
            spoken = told.streams.audio[0].metadata.get("language")
        assert written.streams.audio[0].metadata.get("language") == spoken
        assert spoken == "deu" or suffix == ".mov"
        assert [chapter["end"] - chapter["start"] > 0 for chapter in written.chapters()] == [True, True]


def test_keep_metadata_keeps_what_a_clip_tells(tmp_path: Path, faces):
    write_telling_clip(tmp_path / "a.mkv", faces)
    outcome = run(hide(tmp_path / "a.mkv", tmp_path / "b.mkv", keep_metadata=True))
    assert outcome.notes == ()
    with av.open(str(tmp_path / "b.mkv")) as written:
        assert {k.lower(): v for k, v in written.metadata.items()}["artist"] == "SECRET"


def test_a_swap_keeps_metadata(tmp_path: Path, faces):
    write_telling_clip(tmp_path / "a.mkv", faces[:2])
    source = sample_path("source.jpg")
    run(build_recipe({"source_paths": [source], "target_path": tmp_path / "a.mkv", "output_path": tmp_path / "b.mkv"}))
    with av.open(str(tmp_path / "b.mkv")) as written:
        assert {k.lower(): v for k, v in written.metadata.items()}["artist"] == "SECRET"


def test_a_clip_with_nobody_in_it_is_not_copied_with_what_it_tells(tmp_path: Path):
    with av.open(str(make_clip(tmp_path / "plain.mp4"))) as plain:
        frames = [frame.to_ndarray(format="rgb24") for frame in plain.decode(video=0)]
    write_telling_clip(tmp_path / "a.mp4", frames)
    outcome = run(hide(tmp_path / "a.mp4", tmp_path / "b.mp4", allow_empty=True))
    assert (outcome.changed_frame_count, outcome.track_count) == (0, 0)
    assert find_secrets((tmp_path / "b.mp4").read_bytes()) == []
    assert len(list(ClipReader(tmp_path / "b.mp4"))) == len(frames)
    run(hide(tmp_path / "a.mp4", tmp_path / "c.mp4", allow_empty=True, keep_metadata=True))
    assert content_of(tmp_path / "c.mp4") == content_of(tmp_path / "a.mp4")


@pytest.mark.parametrize("has_face", [True, False])
def test_jobs_keep_secrets_too_and_leave_the_same_bytes(tmp_path: Path, faces, has_face):
    if not has_face:
        with av.open(str(make_clip(tmp_path / "plain.mp4"))) as plain:
            faces = [frame.to_ndarray(format="rgb24") for frame in plain.decode(video=0)]
    write_telling_clip(tmp_path / "a.mp4", faces)
    options = {"allow_empty": True, "face_anonymiser_seed": 3}
    run(hide(tmp_path / "a.mp4", tmp_path / "b.mp4", **options))
    jobs = LocalJobs.open(tmp_path / "jobs")
    try:
        outcome = jobs.run(jobs.create(hide(tmp_path / "a.mp4", tmp_path / "c.mp4", **options)).id, workers=1)
    finally:
        jobs.store.close()
    assert "GPS position" in outcome.notes[0]
    assert find_secrets((tmp_path / "c.mp4").read_bytes()) == []
    assert content_of(tmp_path / "c.mp4") == content_of(tmp_path / "b.mp4")


def test_names_in_the_headers_of_a_codec_go_too(tmp_path: Path, faces):
    with av.open(str(tmp_path / "sound.mkv"), "w") as output:
        sound = output.add_stream("vorbis", rate=48000, layout="stereo")
        sound.codec_context.options = {"strict": "-2"}
        noise = np.random.default_rng(1).normal(0, 0.1, (2, 8 * 1024)).astype(np.float32)
        for number in range(8):
            wave = np.ascontiguousarray(noise[:, 1024 * number : 1024 * (number + 1)])
            part = av.AudioFrame.from_ndarray(wave, format="fltp", layout="stereo")
            part.sample_rate, part.pts = 48000, 1024 * number
            output.mux(sound.encode(part))
        output.mux(sound.encode(None))
    write_telling_clip(tmp_path / "film.mkv", faces, has_sound=False)
    film, voice = av.open(str(tmp_path / "film.mkv")), av.open(str(tmp_path / "sound.mkv"))
    with film, voice, av.open(str(tmp_path / "a.mkv"), "w") as output:
        into = {
            "video": output.add_stream_from_template(film.streams.video[0]),
            "audio": output.add_stream_from_template(voice.streams.audio[0]),
        }
        said = _with_comment(voice.streams.audio[0].codec_context.extradata or b"", b"ARTIST=SECRET" + bytes(300))
        into["audio"].codec_context.extradata = said
        for container, kind in ((film, "video"), (voice, "audio")):
            for packet in container.demux():
                if packet.size:
                    packet.stream = into[kind]
                    output.mux(packet)
        assert clean_extradata("vorbis", said) == clean_extradata(
            "vorbis", voice.streams.audio[0].codec_context.extradata
        )
    assert b"ARTIST=SECRET" in (tmp_path / "a.mkv").read_bytes()
    run(hide(tmp_path / "a.mkv", tmp_path / "b.mkv"))
    assert find_secrets((tmp_path / "b.mkv").read_bytes()) == []
    with av.open(str(tmp_path / "b.mkv")) as written:
        assert sum(part.samples for part in written.decode(audio=0)) > 4000


def test_flac_headers_lose_tags_and_pictures():
    stream_info = b"\x00\x00\x00\x22" + bytes(range(34))
    comments = b"\x84\x00\x00\x06SECRET"
    assert clean_extradata("flac", b"fLaC" + stream_info + comments) == b"fLaC\x80" + stream_info[1:]
    assert clean_extradata("flac", bytes(range(34))) == bytes(range(34))
    assert clean_extradata("aac", b"\x12\x10") == b"\x12\x10"
    for broken in (b"\x02", b"\x02\xff\xff", b"\0\x1e", b"abc"):
        assert clean_extradata("vorbis", broken) == broken


@pytest.mark.parametrize("suffix", [".jpg", ".heic"])
def test_an_anonymised_photo_tells_nothing_and_says_so(tmp_path: Path, suffix):
    pixels = read_photo(sample_path("target.jpg")).pixels
    telling_photo(tmp_path / f"a{suffix}", pixels)
    outcome = run(hide(tmp_path / f"a{suffix}", tmp_path / f"b{suffix}"))
    assert outcome.changed_frame_count == 1
    assert find_secrets((tmp_path / f"b{suffix}").read_bytes()) == []
    assert "GPS position, owner and author, serial numbers" in outcome.notes[-1]
    kept = run(hide(tmp_path / f"a{suffix}", tmp_path / f"c{suffix}", keep_metadata=True))
    assert "SECRET" in find_secrets((tmp_path / f"c{suffix}").read_bytes())
    assert not any("removed" in note for note in kept.notes)
    with Image.open(io.BytesIO((tmp_path / f"b{suffix}").read_bytes())) as written:
        assert "Faces changed" in written.getexif()[0x0131]
