"""Pseudonyms: keyed hashes that stand for user ids in the files outside of the lake.

A pseudonym is the first half of the HMAC-SHA256 of the id, in hex. Only the holder of the key can tell whose
it is. A hash without a key could be reversed by hashing all ids.
"""

import hmac
import os
from dataclasses import dataclass, field

from core.config.privacy import PrivacyConfig
from core.errors import InputError

KEY_VARIABLE = "UNDERCURRENT_PSEUDONYM_KEY"
MIN_KEY_LENGTH = 32  # characters; 32 hex digits are 128 bits
PSEUDONYM_LENGTH = 32  # hex digits; of a billion users, two share a pseudonym with a probability of 1e-21
FINGERPRINT_LENGTH = 8  # hex digits
FINGERPRINT_MESSAGE = "fingerprint of the pseudonym key"
REMEDY = f"write the output of `openssl rand -hex 32` into {KEY_VARIABLE}"


@dataclass(frozen=True)
class PseudonymKey:
    """A secret key that makes pseudonyms.

    Attributes:
        secret: the key. It must appear in no output.
    """

    secret: str = field(repr=False)

    @property
    def fingerprint(self) -> str:
        """A short hash of the key. Two keys with the same fingerprint make the same pseudonyms."""
        return self._hash(FINGERPRINT_MESSAGE)[:FINGERPRINT_LENGTH]

    def pseudonym(self, user_id: str) -> str:
        """Return the pseudonym of a user."""
        return self._hash(user_id)[:PSEUDONYM_LENGTH]

    def _hash(self, text: str) -> str:
        return hmac.digest(self.secret.encode(), text.encode(), "sha256").hex()


def read_keys() -> list[PseudonymKey]:
    """Return the keys of UNDERCURRENT_PSEUDONYM_KEY: the present one, then older ones.

    The variable separates them by commas. Without it there are none.

    Raises:
        InputError: a key is too short.
    """
    secrets = [secret.strip() for secret in os.environ.get(KEY_VARIABLE, "").split(",")]
    keys = [PseudonymKey(secret) for secret in secrets if secret]
    for number, key in enumerate(keys, 1):
        if len(key.secret) < MIN_KEY_LENGTH:
            raise InputError(
                f"{KEY_VARIABLE}: key {number} has {len(key.secret)} characters, but a key needs"
                f" {MIN_KEY_LENGTH}; {REMEDY}"
            )
    return keys


def require_key(params: PrivacyConfig) -> PseudonymKey | None:
    """Return the present key, or None if `privacy.pseudonymise` is off.

    Raises:
        InputError: the switch is on, and the key is missing or too short.
    """
    if not params.pseudonymise:
        return None
    keys = read_keys()
    if not keys:
        raise InputError(
            f"params.yaml: privacy.pseudonymise is true, but {KEY_VARIABLE} is not set; {REMEDY}"
        )
    return keys[0]
