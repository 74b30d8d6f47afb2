"""Passkeys as browsers tell of them (WebAuthn): what they are asked, and whether what they answer can be believed.

Shapes  a challenge is random, waits for one browser and one purpose, counts once and for five minutes; those that
        wait are in the memory of this process, and bounded. Whoever answers has to have looked at the person (PIN,
        finger, face), so that a passkey is two factors. Which make an authenticator is of is not asked.
Errors  `Refused`, with a reason for the audit log; pages do not tell it.
Source  Web Authentication Level 3, 7.1 and 7.2; the library `webauthn` does what is written there, but for the
        counter and for whose passkey it is.
"""

from __future__ import annotations

import secrets
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final, Literal, TypeAlias, TypeVar

from daybreak.console.accounts import Passkey, User
from daybreak.console.accounts.passkeys import Drawn
from daybreak.console.origins import Place
from daybreak.errors import Refused

if TYPE_CHECKING:
    from webauthn.helpers.structs import AuthenticationCredential, PublicKeyCredentialDescriptor

Purpose: TypeAlias = Literal["add", "sign in", "step up"]
_Told = TypeVar("_Told")
WITHIN: Final = timedelta(minutes=5)
_WITHIN_MS: Final = int(WITHIN.total_seconds() * 1000)
_CHALLENGE_BYTES: Final = 32
_MOST: Final = 10_000
_SITE: Final = "Daybreak"


@dataclass(frozen=True, slots=True, kw_only=True)
class Occasion:
    """What a browser is asked for, and where."""

    purpose: Purpose
    place: Place
    browser: str  # what this browser alone has
    user: User | None = None  # whose passkey it has to be; None: anybody's


@dataclass(frozen=True, slots=True, kw_only=True)
class _Waiting:
    """A challenge that was handed out."""

    challenge: bytes
    handle: bytes  # of whom a passkey is made for
    ends_at: datetime


class Ceremonies:
    """What browsers were asked and have not answered yet."""

    def __init__(self) -> None:
        self._waiting: OrderedDict[tuple[Purpose, str], _Waiting] = OrderedDict()
        self._lock = threading.Lock()

    def ask_new(self, occasion: Occasion, handle: bytes, known: Iterable[Passkey], name: str, at: datetime) -> str:
        """What a browser is told (JSON) to make a passkey; it shows the person and the place when it is used."""
        from webauthn import generate_registration_options, options_to_json  # noqa: PLC0415 -- only for those who use it
        from webauthn.helpers.structs import (  # noqa: PLC0415 -- see above
            AuthenticatorSelectionCriteria,
            ResidentKeyRequirement,
            UserVerificationRequirement,
        )

        return options_to_json(
            generate_registration_options(
                rp_id=occasion.place.name,
                rp_name=_SITE,
                user_id=handle,
                user_name=name,
                challenge=self._draw(occasion, at, handle),
                timeout=_WITHIN_MS,
                authenticator_selection=AuthenticatorSelectionCriteria(
                    resident_key=ResidentKeyRequirement.REQUIRED,
                    user_verification=UserVerificationRequirement.REQUIRED,
                ),
                exclude_credentials=_described(known),
            )
        )

    def ask(self, occasion: Occasion, known: Iterable[Passkey], at: datetime) -> str:
        """What a browser is told (JSON) to show a passkey: one of those that are known, or any that it has for us."""
        from webauthn import generate_authentication_options, options_to_json  # noqa: PLC0415 -- see above
        from webauthn.helpers.structs import UserVerificationRequirement  # noqa: PLC0415 -- see above

        return options_to_json(
            generate_authentication_options(
                rp_id=occasion.place.name,
                challenge=self._draw(occasion, at),
                timeout=_WITHIN_MS,
                allow_credentials=_described(known),
                user_verification=UserVerificationRequirement.REQUIRED,
            )
        )

    def made(self, occasion: Occasion, answer: str, at: datetime) -> Drawn:
        """The passkey that a browser made. Raise Refused."""
        from webauthn import verify_registration_response  # noqa: PLC0415 -- see above

        waiting = self._take(occasion, at)
        found = _believed(
            lambda: verify_registration_response(
                credential=answer,
                expected_challenge=waiting.challenge,
                expected_rp_id=occasion.place.name,
                expected_origin=list(occasion.place.origins),
                require_user_verification=True,
            )
        )
        return Drawn(
            credential=found.credential_id,
            public_key=found.credential_public_key,
            handle=waiting.handle,
            uses=found.sign_count,
        )

    def shown(self, occasion: Occasion, told: Told, passkey: Passkey | None, at: datetime) -> tuple[Passkey, int]:
        """The passkey that a browser tells of, and how often it was used, as it counts itself. Raise Refused."""
        from webauthn import verify_authentication_response  # noqa: PLC0415 -- see above

        waiting, credential = self._take(occasion, at), told.credential
        if credential is None:
            raise Refused(told.fault)
        if passkey is None:
            raise Refused("nobody has that passkey")
        user, handle = occasion.user, credential.response.user_handle
        # Asked for those of one person, an authenticator need not say whose it is.
        whose = {passkey.handle} if user is None else {passkey.handle, None}
        if handle not in whose or (user is not None and user.id != passkey.user.id):
            raise Refused("it is somebody else's")
        found = _believed(
            lambda: verify_authentication_response(
                credential=credential,
                expected_challenge=waiting.challenge,
                expected_rp_id=occasion.place.name,
                expected_origin=list(occasion.place.origins),
                credential_public_key=passkey.public_key,
                # The library looks at the counter before the signature: whoever knows the name of a passkey could
                # have the audit log say that there is a copy. `Passkeys.use` looks at it afterwards.
                credential_current_sign_count=0,
                require_user_verification=True,
            )
        )
        return passkey, found.new_sign_count

    def _draw(self, occasion: Occasion, at: datetime, handle: bytes = b"") -> bytes:
        challenge = secrets.token_bytes(_CHALLENGE_BYTES)
        key: tuple[Purpose, str] = (occasion.purpose, occasion.browser)
        with self._lock:
            self._waiting.pop(key, None)
            self._waiting[key] = _Waiting(challenge=challenge, handle=handle, ends_at=at + WITHIN)
            while len(self._waiting) > _MOST:
                self._waiting.popitem(last=False)
        return challenge

    def _take(self, occasion: Occasion, at: datetime) -> _Waiting:
        """What waits for this browser; from now on nothing does, whatever comes of it. Raise Refused."""
        with self._lock:
            found = self._waiting.pop((occasion.purpose, occasion.browser), None)
        if found is None:
            raise Refused("nothing was asked of this browser, or it has answered already")
        if at >= found.ends_at:
            raise Refused("it took longer than five minutes")
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What a browser tells when it shows a passkey; nothing of it is proven."""

    credential: AuthenticationCredential | None
    fault: str = ""

    @property
    def id(self) -> bytes:
        """What the authenticator calls the passkey, b"" where nothing can be read."""
        return b"" if self.credential is None else self.credential.raw_id


def read(answer: str) -> Told:
    """What a browser tells, as far as it can be read."""
    from webauthn.helpers import parse_authentication_credential_json  # noqa: PLC0415 -- see above

    try:
        return Told(credential=_believed(lambda: parse_authentication_credential_json(answer)))
    except Refused as error:
        return Told(credential=None, fault=error.message)


def _believed(look: Callable[[], _Told]) -> _Told:
    from webauthn.helpers.exceptions import WebAuthnException  # noqa: PLC0415 -- see above

    try:
        return look()
    except WebAuthnException as error:
        raise Refused(str(error)) from error
    except Exception as error:
        # What is sent may be anything, and the libraries below have many kinds of faults: all of them mean no.
        raise Refused(f"it cannot be read ({type(error).__name__})") from error


def _described(known: Iterable[Passkey]) -> list[PublicKeyCredentialDescriptor]:
    from webauthn.helpers.structs import PublicKeyCredentialDescriptor  # noqa: PLC0415 -- see above

    return [PublicKeyCredentialDescriptor(id=one.credential) for one in known]
