import hashlib
import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.config import PrivacyConfig
from core.errors import InputError
from core.pseudonyms import KEY_VARIABLE, PseudonymKey, read_keys, require_key

ON, OFF = PrivacyConfig(pseudonymise=True), PrivacyConfig(pseudonymise=False)
FIRST, SECOND = "0123456789abcdef" * 2, "fedcba9876543210" * 2


@given(st.text(), st.text(min_size=1))
def test_a_pseudonym_is_half_of_the_keyed_hash_of_the_id(user_id, secret):
    expected = hmac.new(secret.encode(), user_id.encode(), hashlib.sha256).hexdigest()[:32]
    assert PseudonymKey(secret).pseudonym(user_id) == expected


def test_another_key_gives_other_pseudonyms_and_another_fingerprint():
    first, second = PseudonymKey(FIRST), PseudonymKey(SECOND)
    assert first.pseudonym("u1") != second.pseudonym("u1")
    assert first.fingerprint != second.fingerprint
    assert first.fingerprint == PseudonymKey(FIRST).fingerprint
    assert len(first.fingerprint) == 8


def test_a_key_is_not_printed():
    assert FIRST not in repr(PseudonymKey(FIRST))


def test_the_first_key_is_the_present_one(monkeypatch):
    monkeypatch.setenv(KEY_VARIABLE, f"{SECOND}, {FIRST}")
    assert read_keys() == [PseudonymKey(SECOND), PseudonymKey(FIRST)]
    assert require_key(ON) == PseudonymKey(SECOND)


def test_without_the_switch_no_key_is_read(monkeypatch):
    monkeypatch.setenv(KEY_VARIABLE, "short")
    assert require_key(OFF) is None


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (None, f"privacy.pseudonymise is true, but {KEY_VARIABLE} is not set; write the output of"),
        ("", "is not set"),
        ("tooshort", f"{KEY_VARIABLE}: key 1 has 8 characters, but a key needs 32"),
        (f"{FIRST},tooshort", "key 2 has 8 characters"),
    ],
)
def test_a_missing_or_short_key_is_refused_and_not_shown(monkeypatch, value, message):
    if value is not None:
        monkeypatch.setenv(KEY_VARIABLE, value)
    with pytest.raises(InputError, match=message) as refused:
        require_key(ON)
    assert "tooshort" not in str(refused.value)
