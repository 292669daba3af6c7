"""Columns in files and in pieces."""

from __future__ import annotations

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from facefusion.errors import TracksError
from facefusion.types.rows import Rows, absent, find_columns, is_absent, write_columns


@pytest.fixture
def columns():
    rng = np.random.default_rng(0)
    return {
        "a": rng.normal(size=(7, 3, 2)).astype(np.float32),
        "b": np.arange(5),
        "c": np.array([True, False, True]),
        "d": rng.normal(size=(4, 2)).astype(np.float16),
        "none": np.zeros((0, 3), np.float32),
    }


def write(path, *values):
    with path.open("wb") as file:
        write_columns(file, *values)
    return path


def test_the_library_of_the_format_reads_what_is_written(tmp_path, columns):
    path = write(tmp_path / "file", columns, {"who": "nobody"})
    found = load_file(path)
    assert found.keys() == columns.keys()
    for name, values in columns.items():
        assert found[name].dtype == values.dtype
        assert np.array_equal(found[name], values)
    assert find_columns(path)[1] == {"who": "nobody"}


def test_what_the_library_writes_is_found(tmp_path, columns):
    save_file(columns, tmp_path / "file", metadata={"x": "y"})
    found, metadata = find_columns(tmp_path / "file")
    assert metadata == {"x": "y"}
    for name, values in columns.items():
        assert np.array_equal(found[name].read(0, len(values)), values)
        assert np.array_equal(found[name].map(), values)
    assert np.array_equal(found["a"].read(2, 5), columns["a"][2:5])


def test_pieces_in_any_order_make_the_same_file(tmp_path, columns):
    whole = write(tmp_path / "whole", columns, {})
    outline = {**columns, "a": absent((7, 3, 2)), "b": absent((5,), np.int64)}
    assert is_absent(outline["a"])
    assert not is_absent(columns["a"])
    pieces = [("a", 4, columns["a"][4:]), ("b", 0, columns["b"]), ("a", 0, columns["a"][:4])]
    assert write(tmp_path / "pieces", outline, {}, pieces).read_bytes() == whole.read_bytes()


@pytest.mark.parametrize("spoil", [lambda b: b[:-3], lambda b: b[:5], lambda b: b"", lambda b: b"\xff" * 16])
def test_a_damaged_file_is_said_to_be_one(tmp_path, columns, spoil):
    path = write(tmp_path / "file", columns, {})
    path.write_bytes(spoil(path.read_bytes()))
    with pytest.raises(ValueError, match=r"header|cut off"):
        find_columns(path)


def test_a_file_that_is_cut_off_later_does_not_give_other_numbers(tmp_path, columns):
    path = write(tmp_path / "file", {"a": columns["a"]}, {})
    found = find_columns(path)[0]["a"]
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(TracksError, match="shorter"):
        found.read(0, 7)


def test_rows_of_arrays_and_files_are_one_sequence(tmp_path, columns):
    stored = find_columns(write(tmp_path / "file", {"a": columns["a"]}, {}))[0]["a"]
    other = np.arange(12, dtype=np.float32).reshape(2, 3, 2)
    rows = Rows.of(stored).cut(1, 6) + Rows.of(other) + Rows.of(stored).cut(0, 0)
    wanted = np.concatenate([columns["a"][1:6], other])
    assert len(rows) == 7
    for low, high in ((0, 7), (2, 6), (4, 5), (5, 7), (3, 3)):
        assert np.array_equal(rows.read(low, high), wanted[low:high])
        assert np.array_equal(rows.cut(low, high).read(), wanted[low:high])
    assert np.array_equal(rows.row(-1), wanted[-1])
    assert np.array_equal(rows.row(5), wanted[5])
    assert rows.cut(3, 3).read().shape == (0, 3, 2)
