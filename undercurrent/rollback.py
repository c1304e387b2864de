"""Rollback: another registered version becomes the champion."""

from core.errors import InputError
from registry import model_registry, tracking
from registry.model_registry import CHAMPION, PREVIOUS, ModelRegistry


def roll_back(to: str | None = None) -> tuple[str | None, str]:
    """Move the alias `champion` to another version.

    The present champion becomes `previous`, so a second rollback undoes the first. It is marked as rolled
    back, so running its night again does not promote it.

    Args:
        to: Version number. None for the version with the alias `previous`.

    Returns:
        The old champion, None if there was none, and the new one.

    Raises:
        InputError: There is no such version, or it is the champion already.
        ServiceUnavailableError: MLflow does not answer.
    """
    with model_registry.promotion_lock(), tracking.translate_errors():
        registry_client = ModelRegistry()
        champion = registry_client.get_by_alias(CHAMPION)
        target = registry_client.get_version(to) if to else registry_client.get_by_alias(PREVIOUS)
        if target is None:
            available = ", ".join(version.number for version in registry_client.versions()) or "none"
            raise InputError(
                f"model {registry_client.name!r} has no version {to or 'with the alias previous'}; "
                f"choose a version with --to (there are: {available})"
            )
        if champion and champion.number == target.number:
            raise InputError(f"version {target.number} is the champion already; choose another with --to")
        registry_client.set_tags(target, {"rolled_back": "false"})
        if champion:
            registry_client.set_tags(champion, {"rolled_back": "true"})
            registry_client.set_alias(PREVIOUS, champion)
        registry_client.set_alias(CHAMPION, target)
    return (champion.number if champion else None), target.number
