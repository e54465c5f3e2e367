"""Whom to trust with ports, and ports from whom: code signing requirements, checked by audit token.

A requirement is a sentence in Apple's language for them (csreq(1)): who signed, under which identifier. The
Security framework judges the running process that an audit token names: a pid could by now be somebody
else's. On the simulated kernel processes have the signature that `excsim_sign` gave them.
"""

import enum
import re
from dataclasses import dataclass
from typing import Final, Literal, Self

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

# Security/CSCommon.h and MacErrors.h (macOS 26.4 SDK): what a check may say.
_STATUS: Final = {
    0: "fulfilled",
    -4: "the Security framework is missing",
    -67030: "the Info.plist does not match the signature (errSecCSInfoPlistFailed)",
    -67050: "the code does not fulfil the requirement (errSecCSReqFailed)",
    -67052: "no valid requirement (errSecCSReqInvalid)",
    -67061: "the signature is broken (errSecCSSignatureFailed)",
    -67062: "the code is not signed (errSecCSUnsigned)",
    -67065: "the process has ended or runs another program by now (errSecCSNoSuchCode)",
}


class Validation(enum.Enum):
    """What is done about requirements; the values are the words of configuration and environment."""

    OFF = "off"
    """Nothing."""
    REPORT = "report"
    """They are checked and the result is told; everybody gets what he would have got."""
    ENFORCE = "enforce"
    """Who does not fulfil them gets nothing."""

    @property
    def number(self) -> int:
        """The value of ``EXCGUARD_CLIENT_VALIDATION_...``, and of Chromium's policy."""
        return list(Validation).index(self)


@dataclass(frozen=True)
class Requirement:
    """A code signing requirement.

    Attributes:
        text: in Apple's language. ``"always"`` and ``"never"`` are requirements too.
    """

    text: str

    def __post_init__(self) -> None:
        """Refuse what is no requirement.

        Raises:
            ValueError: the text is no requirement, or there is no Security framework to ask.
        """
        status = -67052 if "\0" in self.text else lib.excguard_client_check_requirement(self.text.encode())
        if status:
            raise ValueError(f"{self.text!r} cannot be required: {describe(status)}")

    @classmethod
    def of(
        cls,
        *,
        identifier: str | tuple[str, ...] = (),
        team: str = "",
        certificate: Certificate | None = None,
    ) -> Self:
        """Put a requirement together.

        Args:
            identifier: the code's identifier, mostly the app's bundle identifier; of several any will do.
            team: the signer's team.
            certificate: what the signer's certificate is for. Without one, any that Apple has issued will do.

        Raises:
            ValueError: nothing is asked for; only an identifier, which anybody may claim; a value that is
                none; a team together with ``app_store``, for there Apple's certificate has signed, and it
                names no team (the identifier is enough: no two apps of the store share one).
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
        """Whether the process behind a token fulfils it: 0, or the Security framework's OSStatus.

        Not quick: files may have to be read and certificates looked at.
        """
        token = ffi.new("uint32_t[]", audit_token)
        return int(lib.excguard_client_check_signature(token, self.text.encode()))


def _check_parts(identifiers: tuple[str, ...], team: str, certificate: Certificate | None) -> None:
    if not team and certificate is None:
        raise ValueError(
            "a requirement needs a team or a certificate class: everybody can sign with any identifier"
        )
    if team and certificate == "app_store":
        raise ValueError("apps from the App Store are signed by Apple: ask for an identifier, not a team")
    if certificate == "app_store" and not identifiers:
        raise ValueError("which app of the App Store? Name its identifier")
    if certificate is not None and certificate not in _CLASSES:
        raise ValueError(f"{certificate!r} is no certificate class; allowed: {', '.join(_CLASSES)}")
    if team and not re.fullmatch(r"[A-Za-z0-9]+", team, re.ASCII):
        raise ValueError(f"{team!r} is no team: they are letters and digits, mostly ten of them")
    for one in identifiers:
        if not re.fullmatch(r"[A-Za-z0-9._-]+", one, re.ASCII):
            raise ValueError(f"{one!r} is no identifier: letters, digits, dots, hyphens, underscores")


def describe(status: int) -> str:
    """An OSStatus in words."""
    return _STATUS.get(status, f"OSStatus {status}")
