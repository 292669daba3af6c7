"""A number and a word that strangers bring back."""

import base64

import pytest

from facefusion.packed import pack, unpack


def test_what_was_packed_is_found_again() -> None:
    assert unpack(pack(1764137.25, "key 0af3:é")) == (1764137.25, "key 0af3:é")


@pytest.mark.parametrize(
    "content",
    [
        "[" * 500, "[" * 90_000, '[NaN,"a"]', '[Infinity,"a"]', '[1e400,"a"]', '[1e12,"a"]', '[true,"a"]', '["a",1]',
        '[1,"\\ud800"]', '[1,"\\u0000"]', '[1,"a","b"]', "[1]", "1", "null", "{}", "", "\xff",
    ],
)  # fmt: skip
def test_whatever_else_comes_is_a_wrong_value_and_nothing_worse(content: str) -> None:
    text = base64.urlsafe_b64encode(content.encode("latin-1")).decode()
    with pytest.raises(ValueError, match=r"."):
        unpack(text)
    with pytest.raises(ValueError, match=r"."):
        unpack(content)


@pytest.mark.parametrize("text", ["é", "a", "\0", "=", "%00"])
def test_what_is_no_base64_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        unpack(text)
