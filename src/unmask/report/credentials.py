"""Content Credentials (C2PA) of a file: what its makers signed. Never a part of the score."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from unmask.documents import STRICT

State = Literal["absent", "invalid", "valid", "trusted", "not checked"]
_OFFLINE = {
    "verify": {"remote_manifest_fetch": False, "ocsp_fetch": False},
    "trust": {"verify_trust_list": True},
}


@dataclass(frozen=True)
class Credentials:
    """What is known of a file's Content Credentials.

    Attributes:
        state: "absent": the file carries none, which says nothing; "invalid": they do not fit the
            file, or were tampered with; "valid": they fit, the signer is on no list that is known;
            "trusted": they fit, and the signer is on one; "not checked": see `said`.
        said: who signed and with what, or why it was not checked; as the file has it.
    """

    state: State
    said: str = ""

    __pydantic_config__ = STRICT


def read_credentials(path: str | Path) -> Credentials:
    """Check a file's Content Credentials, without a network: what is kept elsewhere is not fetched.

    Needs the extra `c2pa`; without it they are "not checked".
    """
    try:
        import c2pa
    except ImportError:
        return Credentials("not checked", "the extra unmask[c2pa] is not installed")
    try:
        settings = c2pa.Settings.from_dict(_OFFLINE)
        with c2pa.Context(settings) as context, c2pa.Reader(str(path), context=context) as reader:
            state, content = reader.get_validation_state(), json.loads(reader.json())
    except c2pa.C2paError.ManifestNotFound:
        return Credentials("absent")
    except c2pa.C2paError.NotSupported:
        return Credentials("not checked", "of this kind of file they cannot be read")
    except (c2pa.C2paError, ValueError) as error:
        elsewhere = "remote" in str(error).lower()
        said = "they are kept elsewhere, and nothing is fetched" if elsewhere else "damaged"
        return Credentials("not checked", said)
    states: dict[str | None, State] = {"Valid": "valid", "Trusted": "trusted"}
    return Credentials(states.get(state, "invalid"), _signed(content))


def _signed(content: object) -> str:
    """Signer and program of the active manifest, as far as they are text."""
    try:
        manifest = content["manifests"][content["active_manifest"]]  # type: ignore[index]
        signer = manifest.get("signature_info", {}).get("issuer")
        programs = manifest.get("claim_generator_info") or [{}]
        program = programs[0].get("name")
    except (LookupError, TypeError, AttributeError):
        return ""
    parts = []
    if isinstance(signer, str):
        parts.append(f"signed by {signer[:80]}")
    if isinstance(program, str):
        parts.append(f"made with {program[:80]}")
    return ", ".join(parts)
