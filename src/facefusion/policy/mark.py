"""What the invisible mark says, and how sure one is of it: 64 bits, their code, and the bound on false alarms.

The 64 bits are a tail-biting convolutional code of rate 1/4 with 1024 states. There is no checksum: what is decoded is
coded again and must be as near to what was read as chance is for fewer than one in a million media, over all words and
all ways of laying the tile that were decoded. Which ways those are is decided by how long what they read is: where all
directions are alike, length says nothing of direction, so ways that were not decoded do not count. For soft values
that point in any direction alike, the share of the sphere within the angle whose cosine is r is at most
(1 - r^2)^((n - 1) / 2) / (2 r sqrt n) for r >= sqrt(2 / n).

References
----------
Brieden, Gritzmann, Kannan, Klee, Lovasz, Simonovits, Deterministic and randomized polynomial-time approximation of
radii, Mathematika 2001, lemma 1 (caps of a sphere).
Luby, Rackoff, How to construct pseudorandom permutations from pseudorandom functions, SIAM J. Computing 1988 (mixing).
Shao, Lin, Fossorier, Two decoding algorithms for tailbiting codes, IEEE Trans. Communications 2003 (wrap-around).
"""

from __future__ import annotations

import hashlib
import hmac
import math
import os
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import platformdirs

from facefusion.wording import counted

FloatArray = npt.NDArray[np.float32]

SITE_BITS, JOB_BITS = 24, 40
BIT_COUNT = SITE_BITS + JOB_BITS
SIGN_COUNT = 4 * BIT_COUNT
MAX_HYPOTHESES = 2**7
"""Ways of laying the tile that may be decoded for one file; more are refused."""
FALSE_ALARMS = 1e-6
"""Share of media without a mark in which one may be seen: half of it for any word, half for those on a list."""
MAX_KNOWN = 10_000
"""Ids on a list."""
SITE_FILE = "site-id"
_MEMORY = 10
_ROUNDS = 3
_TAPS = 0o2327, 0o2353, 0o2671, 0o3175  # free distance 29 (Larsen 1973; Proakis, table 8.2-3)


@dataclass(frozen=True, slots=True)
class MarkId:
    """What a mark says.

    Attributes
    ----------
    site
        Of the installation, `SITE_BITS` bits.
    job
        Of what was asked for, `JOB_BITS` bits.
    """

    site: int
    job: int

    def __post_init__(self) -> None:
        if not 0 <= self.site < 2**SITE_BITS or not 0 <= self.job < 2**JOB_BITS:
            raise ValueError(f"{self} does not fit into {counted(BIT_COUNT, 'bit')}")

    def __str__(self) -> str:
        return f"{self.site:06x}-{self.job:010x}"

    @classmethod
    def parse(cls, text: str) -> MarkId:
        """What `str` gave.

        Raises
        ------
        ValueError
        """
        site, job = text.split("-")
        return cls(int(site, 16), int(job, 16))

    @property
    def signs(self) -> FloatArray:
        """(SIGN_COUNT,) float32 of 1 and -1 that carry it."""
        value = _mixed(self.site << JOB_BITS | self.job)
        return _encode([value >> k & 1 for k in reversed(range(BIT_COUNT))])


@dataclass(frozen=True, slots=True)
class FoundMark:
    """A mark that was found.

    Attributes
    ----------
    site, job
        What it says.
    bits_corrected
        Signs of `SIGN_COUNT` that were read wrong.
    frames
        Frames that were looked at.
    confidence
        Cosine between what was read and what is meant, `least_cosine` to 1.
    """

    site: int
    job: int
    bits_corrected: int
    frames: int
    confidence: float

    @property
    def id(self) -> MarkId:
        """What it says."""
        return MarkId(self.site, self.job)


@dataclass(frozen=True, slots=True)
class Decoded:
    """The likeliest word behind some soft values.

    Attributes
    ----------
    id
        It.
    cosine
        Between them and the word.
    wrong
        Signs that differ.
    """

    id: MarkId
    cosine: float
    wrong: int


def least_cosine(
    hypotheses: int = MAX_HYPOTHESES, chance: float = FALSE_ALARMS / 2, words: float = 2.0**BIT_COUNT
) -> float:
    """How near one of some words must be so that chance gives as much in fewer than ``chance`` of unmarked files."""
    cosine = 0.5
    for _ in range(20):  # the share hardly depends on the cosine in front: this is at rest after a few rounds
        share = math.log2(2 * cosine * math.sqrt(SIGN_COUNT) * chance) - math.log2(words) - math.log2(hypotheses)
        cosine = math.sqrt(1 - 2 ** (2 * share / (SIGN_COUNT - 1)))
    return cosine


def decode(soft: FloatArray) -> Decoded:
    """The likeliest word.

    Parameters
    ----------
    soft
        (SIGN_COUNT,) what was read of every sign; its size does not matter.
    """
    bits = _viterbi(np.asarray(soft, dtype=np.float64).reshape(BIT_COUNT, len(_TAPS)))
    signs = _encode(bits)
    value = _mixed(int("".join(map(str, bits)), 2), is_back=True)
    return _told(MarkId(value >> JOB_BITS, value & 2**JOB_BITS - 1), signs, soft)


def _told(mark: MarkId, signs: FloatArray, soft: FloatArray) -> Decoded:
    """How near a word is to what was read."""
    length = float(np.linalg.norm(soft)) * math.sqrt(SIGN_COUNT)
    cosine = float(signs @ soft) / length if length > 0 else 0.0
    return Decoded(mark, cosine, int((signs * soft <= 0).sum()))


class Known:
    """Ids of which one is looked for.

    Parameters
    ----------
    ids
        At most `MAX_KNOWN`; more are left out, the last first.
    """

    def __init__(self, ids: Sequence[MarkId]) -> None:
        self.ids = tuple(dict.fromkeys(ids))[:MAX_KNOWN]
        self._signs = np.stack([one.signs for one in self.ids]) if self.ids else np.zeros((0, SIGN_COUNT), np.float32)
        self.least = least_cosine(words=len(self.ids)) if self.ids else 1.0

    def nearest(self, soft: FloatArray) -> Decoded | None:
        """The one that some soft values say, if it is near enough.

        Parameters
        ----------
        soft
            (SIGN_COUNT,) what was read of every sign; its size does not matter.
        """
        if not self.ids:
            return None
        best = int((self._signs @ soft).argmax())
        told = _told(self.ids[best], self._signs[best], soft)
        return told if told.cosine >= self.least else None


def _mixed(value: int, is_back: bool = False) -> int:
    """BIT_COUNT bits in another order of things: ids that are alike become words that are not. Four Feistel rounds."""
    half = BIT_COUNT // 2
    left, right = value >> half, value & (1 << half) - 1
    rounds = range(4)
    if is_back:
        left, right = right, left
    for number in reversed(rounds) if is_back else rounds:
        turned = hashlib.sha256(b"mark%d\0" % number + right.to_bytes(half // 8, "big")).digest()[: half // 8]
        left, right = right, left ^ int.from_bytes(turned, "big")
    if is_back:
        left, right = right, left
    return left << half | right


def _encode(bits: list[int]) -> FloatArray:
    state = 0
    for bit in bits[-_MEMORY:]:  # it ends as it begins
        state = (state << 1 | bit) & (1 << _MEMORY) - 1
    signs = []
    for bit in bits:
        window = state << 1 | bit
        signs += [1 - 2 * ((window & taps).bit_count() & 1) for taps in _TAPS]
        state = window & (1 << _MEMORY) - 1
    return np.array(signs, dtype=np.float32)


@cache
def _trellis() -> tuple[npt.NDArray[np.intp], npt.NDArray[np.float64]]:
    """(S, 2) states before each state, and (S, 2, 2) the signs on the way."""
    states = np.arange(1 << _MEMORY)
    windows = np.stack([states, states | 1 << _MEMORY], axis=1)  # what left the register last is 0 or 1
    signs = [[[1 - 2 * ((int(w) & taps).bit_count() & 1) for taps in _TAPS] for w in pair] for pair in windows]
    return windows >> 1, np.array(signs, dtype=np.float64)


def _viterbi(soft: npt.NDArray[np.float64]) -> list[int]:
    """Bits of the likeliest way round the trellis."""
    before, signs = _trellis()
    rows = np.arange(len(before))
    score = np.zeros(len(before))
    chosen = np.zeros((_ROUNDS * BIT_COUNT, len(before)), dtype=np.intp)
    for step in range(_ROUNDS * BIT_COUNT):
        ways = score[before] + signs @ soft[step % BIT_COUNT]
        pick = ways.argmax(axis=1)
        score, chosen[step] = ways[rows, pick], before[rows, pick]
    state = int(score.argmax())
    walked = []
    for step in reversed(range(_ROUNDS * BIT_COUNT)):
        walked.append(state & 1)
        state = int(chosen[step, state])
    walked.reverse()
    # The rounds in the middle know neither beginning nor end; the best of them is taken.
    rounds = [walked[k * BIT_COUNT : (k + 1) * BIT_COUNT] for k in range(_ROUNDS)]
    flat = soft.ravel()
    return max(rounds, key=lambda bits: float(_encode(bits).astype(np.float64) @ flat))


def job_part(key: bytes, secret: bytes = b"") -> int:
    """The job's part of a mark, from whatever its parts are known by.

    Parameters
    ----------
    key
        Whatever they are known by.
    secret
        Of the site: without it nobody can try out which request a mark may come from.
    """
    return int.from_bytes(hmac.digest(secret, b"mark\0" + key, "sha256")[:5], "big")


def site_part(identity: bytes) -> int:
    """The site's part of a mark, from its certificate or whatever else it is known by."""
    return int.from_bytes(hashlib.sha256(b"site\0" + identity).digest()[:3], "big")


def without_job() -> MarkId:
    """What is said where there is no job: previews of what was not yet asked for, and live."""
    return MarkId(site_id(), 0)


def site_id(folder: Path | None = None) -> int:
    """The part of a mark that tells this site: drawn once, kept in the user's data folder for the owner alone.

    Where it can neither be read nor kept it is 0, which is no site's.

    Parameters
    ----------
    folder
        Another place than the user's data folder.
    """
    secret = site_secret(folder)
    return (site_part(secret) or 1) if secret else 0


def site_secret(folder: Path | None = None) -> bytes:
    """What tells this site from others, which it keeps to itself; empty where it can neither be read nor kept."""
    folder = folder or platformdirs.user_data_path("facefusion")
    path = folder / SITE_FILE
    try:
        if not path.exists():
            folder.mkdir(parents=True, exist_ok=True)
            partial = folder / f".{SITE_FILE}-{secrets.token_hex(8)}"
            try:
                with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
                    file.write(secrets.token_hex(16) + "\n")
                    file.flush()
                    os.fsync(file.fileno())
                os.link(partial, path)  # whoever is first decides
            except FileExistsError:
                pass
            finally:
                partial.unlink(missing_ok=True)
        return bytes.fromhex(path.read_text(encoding="ascii").strip())
    except (OSError, ValueError):
        return b""
