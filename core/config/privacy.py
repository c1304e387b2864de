"""The section of params.yaml for privacy. The steps ingest, check and snapshot read it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class PrivacyConfig:
    """How users are named outside of the lake.

    Attributes:
        pseudonymise: write a keyed hash in place of each user id into all files outside of the lake, from the
            pages of the data checks and the snapshot on. The environment variable UNDERCURRENT_PSEUDONYM_KEY
            holds the key.
    """

    pseudonymise: bool
