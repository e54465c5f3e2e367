"""Which processes may receive or hand out ports: code signing requirements, checked by audit token.

A requirement is a sentence in Apple's language for them (csreq(1)): who signed, under which identifier. The
Security framework judges the running process that an audit token names: a pid can belong to another
process by then. On the simulated kernel processes have the signature that `excsim_sign` gave them.
"""

import enum
import re
from typing import Final, Literal, Self

from excguard.knowledge.record import Record
from excguard.native import ffi, lib

Certificate = Literal["developer_id", "app_store", "development"]

# What certificates of each class carry: Apple's technical note TN3127 "Inside Code Signing: Requirements" and
# for the last one libsecurity_codesigning/lib/StaticCode.cpp of Apple's Security (2014), MACWWDRRequirement.
_CLASSES: Final[dict[Certificate, str]] = {
    "developer_id": "certificate 1[field.1.2.840.113635.100.6.2.6] exists"
    " and certificate leaf[field.1.2.840.113635.100.6.1.13] exists",
    "app_store": "certificate leaf[field.1.2.840.113635.100.6.1.9] exists",
    "development": "certificate leaf[field.1.2.840.113635.100.6.1.12] exists",
}

# Security/CSCommon.h and MacErrors.h (macOS 26.4 SDK): results of a check.
_STATUS: Final = {
    0: "met",
    -4: "the Security framework is missing",
    -67030: "the Info.plist does not match the signature (errSecCSInfoPlistFailed)",
    -67050: "the code does not meet the requirement (errSecCSReqFailed)",
    -67052: "invalid requirement (errSecCSReqInvalid)",
    -67061: "the signature is invalid (errSecCSSignatureFailed)",
    -67062: "the code is not signed (errSecCSUnsigned)",
    -67065: "the process has ended or has replaced its program (errSecCSNoSuchCode)",
}


class Validation(enum.Enum):
    """What is done about requirements; the values are the words of configuration and environment."""

    OFF = "off"
    """They are not checked."""
    REPORT = "report"
    """They are checked and the result is reported; it does not change who receives ports."""
    ENFORCE = "enforce"
    """A process that does not meet them receives no ports."""

    @property
    def number(self) -> int:
        """The value of ``EXCGUARD_CLIENT_VALIDATION_...``, and of Chromium's policy."""
        return list(Validation).index(self)


class Requirement(Record):
    """A code signing requirement.

    Attributes:
        text: in Apple's language. ``"always"`` and ``"never"`` are requirements too.
    """

    text: str

    def __post_init__(self) -> None:
        """Refuse an invalid requirement.

        Raises:
            ValueError: the text is not a requirement, or the Security framework is missing.
        """
        status = -67052 if "\0" in self.text else lib.excguard_client_check_requirement(self.text.encode())
        if status:
            raise ValueError(f"invalid requirement {self.text!r}: {describe(status)}")

    @classmethod
    def of(
        cls,
        *,
        identifier: str | tuple[str, ...] = (),
        team: str = "",
        certificate: Certificate | None = None,
    ) -> Self:
        """Build a requirement.

        Args:
            identifier: the code's identifier, mostly the app's bundle identifier; of several, any matches.
            team: the signer's team.
            certificate: what the signer's certificate is for. Without one, any that Apple has issued matches.

        Raises:
            ValueError: no argument; only an identifier, which any signer can claim; an invalid value; a team
                together with ``app_store``: those apps are signed with Apple's certificate, which names no
                team (the identifier is enough: no two apps of the store share one).
        """
        identifiers = (identifier,) if isinstance(identifier, str) else identifier
        _check_parts(identifiers, team, certificate)
        clauses = ["anchor apple generic"]
        if identifiers:
            clauses.append("(" + " or ".join(f'identifier "{one}"' for one in identifiers) + ")")
        if certificate is not None:
            clauses.append(_CLASSES[certificate])
        if team:
            clauses.append(f'certificate leaf[subject.OU] = "{team}"')
        return cls(" and ".join(clauses))

    def check(self, audit_token: tuple[int, ...]) -> int:
        """Check the process behind a token: 0 if it meets the requirement, or an OSStatus.

        Can be slow: it may read files and check certificates.
        """
        token = ffi.new("uint32_t[]", audit_token)
        return int(lib.excguard_client_check_signature(token, self.text.encode()))


def _check_parts(identifiers: tuple[str, ...], team: str, certificate: Certificate | None) -> None:
    if not team and certificate is None:
        raise ValueError(
            "a requirement needs a team or a certificate class: any signer can use any identifier"
        )
    if team and certificate == "app_store":
        raise ValueError("apps from the App Store are signed by Apple: give an identifier, not a team")
    if certificate == "app_store" and not identifiers:
        raise ValueError("certificate class 'app_store' needs an identifier")
    if certificate is not None and certificate not in _CLASSES:
        raise ValueError(f"invalid certificate class {certificate!r}; allowed: {', '.join(_CLASSES)}")
    if team and not re.fullmatch(r"[A-Za-z0-9]+", team, re.ASCII):
        raise ValueError(f"invalid team {team!r}: letters and digits, usually ten")
    for one in identifiers:
        if not re.fullmatch(r"[A-Za-z0-9._-]+", one, re.ASCII):
            raise ValueError(f"invalid identifier {one!r}: letters, digits, dots, hyphens, underscores")


def describe(status: int) -> str:
    """A description of an OSStatus."""
    return _STATUS.get(status, f"OSStatus {status}")
