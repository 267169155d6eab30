"""Content Credentials of files: signed for the test, tampered with, absent, or not to be read."""

import datetime
import json
import shutil
import socket
import sys
from pathlib import Path

import pytest

from unmask.detection.detector import Detector
from unmask.models import Bundle
from unmask.report import credentials
from unmask.report.credentials import Credentials, read_credentials
from unmask.report.write import write_report
from unmask.video.reader import Video

c2pa = pytest.importorskip("c2pa")
x509 = pytest.importorskip("cryptography.x509")

DAY = datetime.timedelta(days=1)


def certificates() -> tuple[bytes, bytes]:
    """A chain of a house that nobody knows, and its signing key, PEM."""
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    now = datetime.datetime.now(datetime.UTC)
    keys = [ec.generate_private_key(ec.SECP256R1()) for _ in range(2)]
    names = [
        x509.Name(
            [
                x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Test House"),
                x509.NameAttribute(NameOID.COMMON_NAME, common),
            ]
        )
        for common in ("root", "leaf")
    ]
    chain = []
    for number, (key, name) in enumerate(zip(keys, names, strict=True)):
        root = number == 0
        uses = x509.KeyUsage(not root, False, False, False, False, root, root, False, False)
        owner = keys[0].public_key()
        builder = (
            x509.CertificateBuilder(names[0], name, key.public_key(), number + 1)
            .not_valid_before(now - DAY)
            .not_valid_after(now + DAY)
            .add_extension(x509.BasicConstraints(root, None), critical=True)
            .add_extension(uses, critical=True)
            .add_extension(
                x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False
            )
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(owner), critical=False
            )
        )
        if not root:
            usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION])
            builder = builder.add_extension(usage, critical=False)
        chain.append(builder.sign(keys[0], hashes.SHA256()))
    pem, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    private = keys[1].private_bytes(pem, serialization.PrivateFormat.PKCS8, plain)
    return b"".join(one.public_bytes(pem) for one in reversed(chain)), private


@pytest.fixture(scope="module")
def pems() -> tuple[bytes, bytes]:
    return certificates()


def sign(clip: Path, path: Path, pems: tuple[bytes, bytes], elsewhere: str | None = None) -> Path:
    """The clip with Content Credentials, or with none but the address where they are."""
    source = "http://cv.iptc.org/newscodes/digitalsourcetype/digitalCapture"
    actions = [{"action": "c2pa.created", "digitalSourceType": source}]
    manifest = {
        "claim_generator_info": [{"name": "Test Camera", "version": "1"}],
        "assertions": [{"label": "c2pa.actions", "data": {"actions": actions}}],
    }
    info = c2pa.C2paSignerInfo(b"es256", *pems, None)
    with c2pa.Signer.from_info(info) as signer, c2pa.Builder(json.dumps(manifest)) as builder:
        if elsewhere is not None:
            builder.set_no_embed()
            builder.set_remote_url(elsewhere)
        builder.sign_file(str(clip), str(path), signer)
    return path


@pytest.fixture
def signed(clip: Path, tmp_path: Path, pems: tuple[bytes, bytes]) -> Path:
    return sign(clip, tmp_path / "signed.mp4", pems)


def test_a_signer_may_be_trusted(
    signed: Path, pems: tuple[bytes, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    root = pems[0][pems[0].rindex(b"-----BEGIN") :].decode()
    trust = {**credentials._OFFLINE["trust"], "trust_anchors": root}
    monkeypatch.setitem(credentials._OFFLINE, "trust", trust)
    assert read_credentials(signed).state == "trusted"


def test_nothing_is_fetched(clip: Path, tmp_path: Path, pems: tuple[bytes, bytes]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.2)
        address = f"http://127.0.0.1:{server.getsockname()[1]}/manifest.c2pa"
        found = read_credentials(sign(clip, tmp_path / "remote.mp4", pems, address))
        with pytest.raises(TimeoutError):
            server.accept()
    assert found == Credentials("not checked", "they are kept elsewhere, and nothing is fetched")


def test_states_are_kept_apart(
    signed: Path, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    who = "signed by Test House, made with Test Camera"
    assert read_credentials(clip) == Credentials("absent")
    assert read_credentials(signed) == Credentials("valid", who)  # nobody vouches for the signer
    content = bytearray(signed.read_bytes())
    content[content.rfind(b"mdat") + 40] ^= 255
    forged = tmp_path / "forged.mp4"
    forged.write_bytes(content)
    with Video(forged) as video:  # which is still a video
        assert video.info.codec == "h264"
    assert read_credentials(forged) == Credentials("invalid", who)
    other = Path(shutil.copy(clip, tmp_path / "clip.mkv"))
    junk = tmp_path / "junk.mp4"
    junk.write_text("no video")
    assert {read_credentials(path).state for path in (junk, tmp_path / "none.mp4")} == {
        "not checked"
    }
    assert str(tmp_path) not in read_credentials(tmp_path / "none.mp4").said
    assert read_credentials(other).state in ("absent", "not checked")
    monkeypatch.setitem(sys.modules, "c2pa", None)
    without = read_credentials(signed)
    assert without.state == "not checked"
    assert "not installed" in without.said


def test_they_stand_beside_the_verdict_and_change_nothing(
    signed: Path, clip: Path, bundle: Bundle, tmp_path: Path
) -> None:
    detector = Detector(bundle)
    with_them, without = detector.predict([signed, clip])
    assert with_them.confidence == without.confidence
    page = write_report(with_them, detector, tmp_path / "out").read_text()
    assert "Content Credentials: valid, signer not verified" in page
    assert "signed by Test House, made with Test Camera" in page
    assert "No Content Credentials" in write_report(without, detector, tmp_path).read_text()
