"""Who signs: keys of a site, and the identity that a machine makes for itself."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from facefusion.errors import SigningRefused
from facefusion.policy.signing import CHAIN, KEY, Signing, check_chain, make_identity
from facefusion.policy.statement import without_paths
from facefusion.writing import save_private

FOR_MAIL = x509.ObjectIdentifier("1.3.6.1.5.5.7.3.4")
PLAIN = (Encoding.PEM, PrivateFormat.PKCS8)


@pytest.fixture
def site(tmp_path):
    """A certificate and key of a site, and the signing that names them."""
    chain, key = make_identity("site")
    (tmp_path / "chain.pem").write_bytes(chain)
    save_private(tmp_path / "key.pem", key)
    return Signing(tmp_path / "chain.pem", tmp_path / "key.pem")


def test_identity_is_made_once_and_private(tmp_path):
    signing = Signing(folder=tmp_path / "identity")
    first, second = signing.signer(), signing.signer()
    assert first == second and first.is_local and not first.is_passing
    assert sorted(path.name for path in signing.home.iterdir() if path.suffix == ".pem") == [CHAIN, KEY]
    assert stat.S_IMODE((signing.home / KEY).stat().st_mode) == 0o600
    assert stat.S_IMODE(signing.home.stat().st_mode) == 0o700
    assert first.key.decode() not in repr(first)
    names = [one.subject.public_bytes() for one in x509.load_pem_x509_certificates(first.chain)]
    assert len(names) == 2 and os.uname().nodename.encode() not in b"".join(names)


def test_an_identity_that_others_may_read_is_private_again(tmp_path):
    signing = Signing(folder=tmp_path / "identity")
    signing.check()
    (signing.home / KEY).chmod(0o644)
    signing.check()
    assert stat.S_IMODE((signing.home / KEY).stat().st_mode) == 0o600


def test_processes_that_begin_at_once_make_one_identity(tmp_path):
    script = (
        "import sys; from pathlib import Path; from facefusion.policy.signing import Signing\n"
        "print(Signing(folder=Path(sys.argv[1])).signer().fingerprint)"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "identity")]
    begun = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    told = [process.communicate()[0].strip() for process in begun]
    assert len(set(told)) == 1 and len(told[0]) == 64
    assert [process.returncode for process in begun] == [0, 0, 0]


def test_what_a_killed_process_began_is_no_identity(tmp_path):
    home = tmp_path / "identity"
    home.mkdir(mode=0o700)
    chain, _ = make_identity()
    (home / CHAIN).write_bytes(chain)  # it died before the key
    assert Signing(folder=home).signer().chain != chain


def test_where_the_data_folder_cannot_be_written_the_identity_is_a_passing_one(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    (tmp_path / "file").write_bytes(b"")  # root may write into any folder, but not into a file
    signing = Signing(folder=tmp_path / "file" / "identity")
    signer = signing.signer()
    assert signer.is_passing and signer == signing.signer()
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path / "file"))
    with pytest.raises(SigningRefused, match="no place for the identity"):
        signing.signer()


@pytest.mark.parametrize(
    ("key", "algorithm"),
    [
        (lambda: ec.generate_private_key(ec.SECP384R1()), "es384"),
        (ed25519.Ed25519PrivateKey.generate, "ed25519"),
        (lambda: rsa.generate_private_key(65537, 2048), "ps256"),
    ],
)
def test_keys_of_other_kinds_sign_too(tmp_path, key, algorithm):
    made = key()
    (tmp_path / "chain.pem").write_bytes(certificate_of(made))
    save_private(tmp_path / "key.pem", made.private_bytes(*PLAIN, NoEncryption()))
    assert Signing(tmp_path / "chain.pem", tmp_path / "key.pem").signer().algorithm == algorithm


def certificate_of(key, days=10, begun=1, purposes=(FOR_MAIL,)):
    root = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "somebody")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
        .serial_number(7).not_valid_before(now - timedelta(days=begun)).not_valid_after(now + timedelta(days=days))
        .add_extension(x509.KeyUsage(True, *[False] * 8), critical=True)
    )  # fmt: skip
    if purposes:
        made = made.add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
    return made.sign(root, hashes.SHA256()).public_bytes(Encoding.PEM)


def spoil(site, how):
    key = load_pem_private_key(site.key.read_bytes(), None)
    if how == "missing":
        site.key.unlink()
    elif how == "a folder":
        site.key.unlink()
        site.key.mkdir()
    elif how == "rubbish":
        site.key.write_bytes(b"rubbish")
    elif how == "locked":
        site.key.write_bytes(key.private_bytes(*PLAIN, BestAvailableEncryption(b"secret")))
    elif how == "another's":
        site.key.write_bytes(make_identity()[1])
    elif how == "too short":
        site.key.write_bytes(rsa.generate_private_key(65537, 1024).private_bytes(*PLAIN, NoEncryption()))
    elif how == "no certificate":
        site.certificate.write_bytes(b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    elif how == "expired":
        site.certificate.write_bytes(certificate_of(key, days=-1, begun=5))
    elif how == "not yet":
        site.certificate.write_bytes(certificate_of(key, begun=-1))
    elif how == "for servers":
        site.certificate.write_bytes(certificate_of(key, purposes=(x509.ObjectIdentifier("1.3.6.1.5.5.7.3.1"),)))
    elif how == "for nothing":
        site.certificate.write_bytes(certificate_of(key, purposes=()))
    elif how == "a broken chain":
        leaf = site.certificate.read_bytes().split(b"-----END CERTIFICATE-----")[0] + b"-----END CERTIFICATE-----\n"
        site.certificate.write_bytes(leaf + make_identity("site")[0])


REASONS = {
    "missing": "cannot be read", "a folder": "cannot be read", "rubbish": "is no private key",
    "locked": "locked by a password", "another's": "not that of the certificate", "too short": "cannot sign content",
    "no certificate": "is no certificate", "expired": "has expired", "not yet": "is not valid before",
    "for servers": "not for signing content", "for nothing": "does not say what it is for",
    "a broken chain": "do not follow one another",
}  # fmt: skip


@pytest.mark.parametrize("how", REASONS)
def test_a_key_that_cannot_sign_is_refused_with_a_reason(site, how):
    site.check()
    spoil(site, how)
    with pytest.raises(SigningRefused, match=REASONS[how]) as caught:
        site.check()
    assert caught.value.hint


def test_certificate_and_key_come_together(site):
    for lonely in (Signing(site.certificate), Signing(None, site.key)):
        with pytest.raises(SigningRefused, match="together"):
            lonely.check()


def test_a_chain_ends_when_its_first_certificate_does(site):
    chain = site.certificate.read_bytes()
    check_chain(chain, site.certificate)
    with pytest.raises(SigningRefused, match="expired"):
        check_chain(chain, site.certificate, datetime.now(UTC) + timedelta(days=4000))


def test_nothing_that_names_a_place_is_told_of_a_recipe(tmp_path):
    told = {
        "a": tmp_path,
        "b": ["x/y", "kept", tmp_path],
        "c": {"d": r"C:\people\anna"},
        "e": 1.5,
        "f": None,
        "g": True,
    }
    assert without_paths(told) == {"b": ["kept"], "e": 1.5, "g": True}


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such permissions")
@pytest.mark.parametrize(("mode", "is_refused"), [(0o600, False), (0o640, False), (0o644, True), (0o660, True)])
def test_a_key_of_a_site_that_others_may_read_is_refused(site, mode, is_refused):
    site.key.chmod(mode)
    if not is_refused:
        site.check()
        return
    with pytest.raises(SigningRefused, match="Others may read the signing key"):
        site.check()
