"""One thing is told of as one."""

import re
from pathlib import Path

import pytest

import facefusion
from facefusion.wording import agreed, counted, lengths_of, sizes_of

THINGS = (
    "parts|frames|jobs|files|people|persons|tracks|spans|segments|models|steps|pictures|photos|faces|packets|folders|cores|"
    "bytes|pixels|processors|sources|processes|workers|crops|masks|windows|answers|rows|items|bits|channels|tries|times"
)
NEVER_ONE = {
    # Constants, numbers that are compared before, and units behind a fraction.
    "gone.how}, {MAX_BARREN} times", "{moved.attempts} times", "{unrest:.2f} times", "gives no {POINT_COUNT} points",
    "{found.leading} frames", "{len(found)} jobs", "{depth} bits", "{self.info.bit_depth} bits", "{length} bytes",
    "{limit} pixels", "{height} pixels", "{count} channels", "{halo} frames", "{len(pictures)} pictures",
    "{outcome.frames_per_s:.1f} frames", "{stage.frames_per_s:.1f} frames",
    "{rate:.1f} frames", "{made.frames_per_s:.1f} frames",
    "{recipe.face_map_path} names", "{sides} pixels",
    "{file.size_bytes or '?'} bytes", "million pixels", "{what} answers", "{answer.url.host} answers",
    "{suffix} files", "{path.suffix} files",
}  # fmt: skip


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 parts"), (1, "1 part"), (2, "2 parts"), ("1", "1 part"), ("1,024", "1,024 parts")]
)
def test_a_number_agrees_with_what_it_counts(count, text):
    assert counted(count, "part") == text


def test_what_agrees_with_the_noun_is_part_of_it():
    assert counted(1, "part is", "parts are") == "1 part is"
    assert counted(3, "person", "people") == "3 people"
    assert agreed(1, "is", "are") == "is"


def test_no_sentence_counts_things_without_it():
    root = Path(facefusion.__file__).parent
    pattern = re.compile(rf"\{{[^{{}}\"]+\}} (?:[a-z]+ )?(?:{THINGS})\b")
    found = []
    for path in sorted(root.rglob("*.py")):
        for line in path.read_text(encoding="utf-8").splitlines():
            if not re.search(r"\bf[\"']", line) or line.lstrip().startswith("#"):
                continue
            for match in pattern.findall(line):
                is_worded = match.startswith(("{counted(", "{agreed("))
                if not is_worded and not any(known in line for known in NEVER_ONE):
                    found.append(f"{path.relative_to(root)}: {match}")
    assert not found


@pytest.mark.parametrize(
    ("used", "most", "more", "told"),
    [
        (0.0, 3.0, 4.2, ["0 s", "3 s", "4.2 s"]),
        (0.0, 0.003, 0.0041, ["0 s", "0.003 s", "0.004 s"]),
        (3598.2, 3600.0, 1.84, ["59 min 58.2 s", "60 min", "1.84 s"]),
        (14_000.0, 14_400.0, 900.0, ["233 min 20 s", "240 min", "15 min"]),
        (59.9994, 60.0, 0.0009, ["59.9994 s", "1 min", "0.0009 s"]),
    ],
)
def test_lengths_add_up_as_a_sentence_says(used, most, more, told):
    found = lengths_of((used, most, more), lambda now: now[2] > 0 and now[0] + now[2] > now[1] > 0)
    assert found == told


@pytest.mark.parametrize(
    ("sizes", "told"),
    [
        ((10_004_000_000, 10_000_000_000), ["10.004 GB", "10 GB"]),
        ((2_345_678, 1_000_000), ["2.35 MB", "1 MB"]),
        ((1000, 999), ["1 kB", "999 bytes"]),
        ((2, 1), ["2 bytes", "1 byte"]),
    ],
)
def test_of_two_sizes_it_is_seen_which_is_more(sizes, told):
    assert sizes_of(sizes, lambda now: now[0] > now[1]) == told
