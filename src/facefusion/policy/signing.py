"""Who signs outputs: a site's certificate and key, or an identity of this machine, made once and kept private."""

from __future__ import annotations

import hashlib
import os
import secrets
import stat
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import platformdirs

from facefusion.errors import OutputRefused, SigningRefused
from facefusion.workplace import make_folder, take
from facefusion.writing import save_private

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
    from cryptography.x509 import Certificate

Algorithm = Literal["es256", "es384", "es512", "ps256", "ed25519"]
LOCAL_NAME = "FaceFusion local identity"
"""Organisation in certificates that a machine has made for itself."""
CHAIN, KEY = "chain.pem", "key.pem"
_VALID_DAYS = 3650
_PATIENCE_S = 30.0
_PURPOSES = ("1.3.6.1.5.5.7.3.4", "1.3.6.1.5.5.7.3.36", "1.3.6.1.4.1.62558.2.1")
"""Purposes of a certificate that signs content: email protection, document signing, C2PA claims."""
_WAY_OUT = "Mend it, or name others with --signing-certificate and --signing-key."


@dataclass(frozen=True, slots=True)
class Signing:
    """How a site signs its outputs; says nothing about what is in them, so it is no part of a recipe.

    Attributes
    ----------
    certificate, key
        PEM files: the certificate chain, leaf first, and the private key. None for the identity of this machine.
    folder
        Where that identity is; None for the user's data folder.
    is_off
        Whether the site has its outputs unsigned. It is recorded with every job.
    callback
        Signs bytes in place of a key file, for keys that never leave their module: called with what is to be signed,
        it returns the signature (raw r and s where the key is on a curve). `algorithm` says by which algorithm.
    algorithm
        Of the callback's key.
    """

    certificate: Path | None = None
    key: Path | None = None
    folder: Path | None = None
    is_off: bool = False
    callback: Callable[[bytes], bytes] | None = field(default=None, repr=False)
    algorithm: Algorithm = "es256"

    @property
    def is_local(self) -> bool:
        """Whether the identity of this machine signs."""
        return self.certificate is None and self.key is None and self.callback is None

    @property
    def home(self) -> Path:
        """Folder of the identity of this machine."""
        return self.folder or platformdirs.user_data_path("facefusion") / "identity"

    def check(self) -> None:
        """Refuse keys that cannot sign, before anything is begun.

        Raises
        ------
        SigningRefused
        """
        if not self.is_off:
            self.signer()

    def signer(self) -> Signer:
        """Who signs now. The identity of this machine is made where there is none.

        Raises
        ------
        SigningRefused
            For a key that is missing, unreadable, expired, of another certificate, not made for this, or that others
            may read.
        """
        if self.is_local:
            return _local_signer(self.home)
        if self.certificate is None or (self.key is None and self.callback is None):
            lacks = "--signing-certificate" if self.certificate is None else "--signing-key"
            raise SigningRefused("A certificate and its key are given together.", f"Add {lacks}.")
        chain = _read(self.certificate)
        algorithm, key = self.algorithm, b""
        if self.callback is None:
            assert self.key is not None
            _check_private(self.key)
            private = _load_key(_read(self.key), self.key)
            algorithm, key = _algorithm_of(private, self.key), _as_pem(private)
            _check_pair(private, chain, self.certificate)
        check_chain(chain, self.certificate)
        return Signer(chain, key, algorithm, self.callback)

    def own_roots(self) -> bytes:
        """Certificates by which outputs of this site are known as its own, as PEM; empty where there are none yet."""
        found = []
        for path in {self.certificate or self.home / CHAIN, self.home / CHAIN, _spare(self.home) / CHAIN}:
            with suppress(OSError):
                if path.is_file() and (path.parent != _spare(self.home) or _is_own(path.parent)):
                    found.append(path.read_bytes())
        return b"\n".join(found)


def _check_private(path: Path) -> None:
    """Refuse a key that everybody on this machine may read, or its group change: who has it signs as this site. A group
    may read it, as where a secret of Kubernetes is mounted or a service has a group of its own.
    """
    with suppress(OSError):  # `_read` says it
        if os.name != "nt" and path.is_file() and stat.S_IMODE(path.stat().st_mode) & 0o037:
            raise SigningRefused(f"Others may read the signing key {path}.", f"Run: chmod 600 {path}")


OF_THIS_MACHINE = Signing()
"""Outputs are signed by an identity of this machine."""


@dataclass(frozen=True, slots=True)
class Signer:
    """What signs.

    Attributes
    ----------
    chain
        Certificates as PEM, leaf first.
    key
        Private key as PEM (PKCS #8); empty where a callback signs.
    algorithm, callback
        As in `Signing`.
    is_local
        Whether it is the identity of this machine, which is on no list.
    is_passing
        Whether that could be kept in a temporary folder only.
    """

    chain: bytes
    key: bytes = field(repr=False)
    algorithm: Algorithm = "es256"
    callback: Callable[[bytes], bytes] | None = field(default=None, repr=False)
    is_local: bool = False
    is_passing: bool = False

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the certificate that signs."""
        from cryptography.hazmat.primitives.serialization import Encoding

        return hashlib.sha256(_certificates(self.chain)[0].public_bytes(Encoding.DER)).hexdigest()

    @property
    def until(self) -> datetime:
        """When that certificate ends."""
        return _certificates(self.chain)[0].not_valid_after_utc


def check_chain(chain: bytes, path: Path, now: datetime | None = None) -> None:
    """Refuse certificates that do not hold today, or were not made for signing content.

    Parameters
    ----------
    chain
        As PEM, leaf first.
    path
        Of its file, for errors.
    now
        Today; None asks the clock.

    Raises
    ------
    SigningRefused
    """
    from cryptography import x509

    try:
        found = _certificates(chain)
    except ValueError as error:
        raise SigningRefused(f"{path} is no certificate: {_words(error)}.", _WAY_OUT) from error
    if not found:
        raise SigningRefused(f"There is no certificate in {path}.", _WAY_OUT)
    now = now or datetime.now(UTC)
    for one in found:
        if one.not_valid_after_utc < now:
            raise SigningRefused(f"The certificate {path} has expired on {one.not_valid_after_utc:%Y-%m-%d}.", _WAY_OUT)
        if one.not_valid_before_utc > now:
            raise SigningRefused(
                f"The certificate {path} is not valid before {one.not_valid_before_utc:%Y-%m-%d}.", _WAY_OUT
            )
    for one, issuer in pairwise(found):
        try:
            one.verify_directly_issued_by(issuer)
        except Exception as error:
            raise SigningRefused(
                f"The certificates in {path} do not follow one another.", "Put the leaf first, then who issued it."
            ) from error
    try:
        purposes = found[0].extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
        usage = found[0].extensions.get_extension_for_class(x509.KeyUsage).value
    except (x509.ExtensionNotFound, ValueError) as error:
        raise SigningRefused(f"The certificate {path} does not say what it is for.", _FOR_CONTENT) from error
    if not usage.digital_signature or not any(purpose.dotted_string in _PURPOSES for purpose in purposes):
        raise SigningRefused(f"The certificate {path} is not for signing content.", _FOR_CONTENT)


_FOR_CONTENT = (
    "Get one for C2PA: digital signature, with email protection or document signing (see docs/provenance.md)."
)


def _local_signer(home: Path) -> Signer:
    """The identity of this machine. Where its folder cannot be written it lies in a temporary one."""
    try:
        return Signer(*_load_or_make(home), is_local=True)
    except OutputRefused:
        spare = _spare(home)
        try:
            make_folder(spare)
            if not _is_own(spare):
                raise OutputRefused(f"{spare} belongs to another user.", "Name a folder with --identity-path.")
            return Signer(*_load_or_make(spare), is_local=True, is_passing=True)
        except OutputRefused as error:
            raise SigningRefused(
                f"There is no place for the identity that signs outputs: {error.message}",
                "Name a folder with --identity-path, or a certificate with --signing-certificate.",
            ) from error


def _spare(home: Path) -> Path:
    user = os.getuid() if hasattr(os, "getuid") else ""
    return Path(tempfile.gettempdir()) / f"facefusion-identity-{user}"


def _is_own(folder: Path) -> bool:
    return not hasattr(os, "getuid") or folder.lstat().st_uid == os.getuid()


def _load_or_make(home: Path) -> tuple[bytes, bytes]:
    """Chain and key of the identity in a folder; made by whoever comes first."""
    if not (home / KEY).is_file():
        make_folder(home)
        lock = take(home / "identity.lock", _PATIENCE_S)
        if lock is None:
            raise OutputRefused(f"{home} is held by another process.", "Try again.")
        with lock:
            if not (home / KEY).is_file():
                chain, key = make_identity()
                # The key last: where it is, the chain is too.
                for path, content in ((home / CHAIN, chain), (home / KEY, key)):
                    save_private(path, content)
    chain, key = _read(home / CHAIN), _read(home / KEY)
    if os.name != "nt" and stat.S_IMODE((home / KEY).stat().st_mode) & 0o077:
        with suppress(OSError):
            (home / KEY).chmod(0o600)
    way_out = home / CHAIN
    private = _load_key(key, home / KEY)
    _check_pair(private, chain, way_out)
    try:
        check_chain(chain, way_out)
    except SigningRefused as error:
        raise SigningRefused(error.message, f"Move {home} away; another identity is made then.") from error
    return chain, key


def make_identity(name: str = "", days: float = _VALID_DAYS) -> tuple[bytes, bytes]:
    """A certificate chain of a root and a leaf, and the leaf's key; nobody keeps the root's.

    Parameters
    ----------
    name
        Of the leaf; a random one where it is empty: it says nothing about machine or user.
    days
        How long both are valid.

    Returns
    -------
    Chain and private key, both as PEM.
    """
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import Encoding
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    name = name or secrets.token_hex(4)
    now = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=1)  # clocks differ
    root, leaf = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())

    def called(what: str) -> x509.Name:
        organisation = x509.NameAttribute(NameOID.ORGANIZATION_NAME, LOCAL_NAME)
        return x509.Name([organisation, x509.NameAttribute(NameOID.COMMON_NAME, what)])

    def draft(what: str, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(called(what))
            .issuer_name(called(f"{name} root"))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now)
            .not_valid_after(now + timedelta(days=days))
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        )

    def usage(is_root: bool) -> x509.KeyUsage:
        return x509.KeyUsage(not is_root, False, False, False, False, is_root, is_root, False, False)

    above = (
        draft(f"{name} root", root)
        .add_extension(x509.BasicConstraints(True, 0), critical=True)
        .add_extension(usage(True), critical=True)
        .sign(root, hashes.SHA256())
    )
    below = (
        draft(name, leaf)
        .add_extension(x509.BasicConstraints(False, None), critical=True)
        .add_extension(usage(False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION]), critical=True)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(root.public_key()), critical=False)
        .sign(root, hashes.SHA256())
    )
    return below.public_bytes(Encoding.PEM) + above.public_bytes(Encoding.PEM), _as_pem(leaf)


def _certificates(chain: bytes) -> list[Certificate]:
    from cryptography import x509

    return x509.load_pem_x509_certificates(chain)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        reason = error.strerror or error
        raise SigningRefused(f"{path} cannot be read: {reason}.", _WAY_OUT) from error


def _load_key(content: bytes, path: Path) -> PrivateKeyTypes:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        return load_pem_private_key(content, None)
    except TypeError as error:
        raise SigningRefused(
            f"{path} is locked by a password.", "Name a key without one, private to its owner."
        ) from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise SigningRefused(f"{path} is no private key: {_words(error)}.", _WAY_OUT) from error


def _algorithm_of(key: PrivateKeyTypes, path: Path) -> Algorithm:
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

    curves: dict[str, Algorithm] = {"secp256r1": "es256", "secp384r1": "es384", "secp521r1": "es512"}
    if isinstance(key, ec.EllipticCurvePrivateKey) and key.curve.name in curves:
        return curves[key.curve.name]
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return "ed25519"
    if isinstance(key, rsa.RSAPrivateKey) and key.key_size >= 2048:
        return "ps256"
    raise SigningRefused(
        f"{path} is of a kind that cannot sign content.", "Use P-256, P-384, P-521, Ed25519, or RSA of 2048 bits."
    )


def _check_pair(key: PrivateKeyTypes, chain: bytes, path: Path) -> None:
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    try:
        found = _certificates(chain)
    except ValueError as error:
        raise SigningRefused(f"{path} is no certificate: {_words(error)}.", _WAY_OUT) from error
    form = Encoding.DER, PublicFormat.SubjectPublicKeyInfo
    public = key.public_key()
    if found and found[0].public_key().public_bytes(*form) != public.public_bytes(*form):
        raise SigningRefused(f"The key is not that of the certificate {path}.", "Name the key that belongs to it.")


def _as_pem(key: PrivateKeyTypes) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _words(error: Exception) -> str:
    return str(error).split("\n", maxsplit=1)[0].rstrip(".")[:120]
