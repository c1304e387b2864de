"""Strict conversion of a mapping to a frozen dataclass. Errors name the key, the value and the remedy."""

import difflib
import math
import sys
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin

from core.errors import InputError

Config = TypeVar("Config")


@dataclass(frozen=True)
class Bounds:
    """The bounds of a number, both included, and their description in error messages."""

    low: float
    high: float
    description: str


_FLOAT_MAX, _SMALLEST_POSITIVE = sys.float_info.max, math.ulp(0.0)
NonNegativeInt = Annotated[int, Bounds(0, math.inf, "0 or more")]
Seed = Annotated[int, Bounds(0, 2**32 - 1, f"from 0 to {2**32 - 1}")]
PositiveInt = Annotated[int, Bounds(1, math.inf, "1 or more")]
FiniteFloat = Annotated[float, Bounds(-_FLOAT_MAX, _FLOAT_MAX, "a finite number")]
NonNegativeFloat = Annotated[float, Bounds(0, _FLOAT_MAX, "a finite number, 0 or more")]
PositiveFloat = Annotated[float, Bounds(_SMALLEST_POSITIVE, _FLOAT_MAX, "finite and above 0")]
UnitInterval = Annotated[float, Bounds(0, 1, "from 0 to 1")]


def build_dataclass(cls: type, raw: Any, file: str, key_path: str = "") -> Any:
    """Build a dataclass from a mapping that has exactly its fields, each with its declared type.

    Field types: a dataclass, a union of dataclasses, `X | None`, `tuple[X, ...]`, `Literal` of strings,
    `Annotated` with `Bounds`, or a plain class. Each dataclass of a union has a field `name` with a literal
    type. The `name` in the mapping selects the dataclass.

    Args:
        cls: the dataclass.
        raw: the mapping, as YAML or JSON gives it.
        file: the file that error messages name.
        key_path: the dotted path of `raw` in the file, for error messages.

    Raises:
        InputError: a key is missing or unknown, or a value has another type or is out of `Bounds`. Only the
            first error is reported.
    """
    if not isinstance(raw, dict):
        raise InputError(f"{file}: {key_path or 'the file'} must be a mapping, got {raw!r}")
    hints = typing.get_type_hints(cls, include_extras=True)
    field_names = [f.name for f in fields(cls)]
    for key in raw:
        if key not in field_names:
            raise InputError(
                f"{file}: unknown key {_join_keys(key_path, key)!r}; {_suggest_key(cls, key, key_path)}"
            )
    for key in field_names:
        if key not in raw:
            raise InputError(f"{file}: key {_join_keys(key_path, key)!r} is missing; add it")
    return cls(
        **{key: _parse_value(hints[key], raw[key], file, _join_keys(key_path, key)) for key in field_names}
    )


def _suggest_key(cls: type, key: object, key_path: str) -> str:
    """What to write instead of an unknown key: the same key in a nested dataclass, or a close key."""
    if paths := dict.fromkeys(_nested_paths(cls, key, key_path)):
        return f"write it as {' or '.join(map(repr, paths))}"
    field_names = [f.name for f in fields(cls)]
    close_matches = difflib.get_close_matches(str(key), field_names, n=1)
    return f"did you mean {close_matches[0]!r}?" if close_matches else f"known keys: {', '.join(field_names)}"


def _nested_paths(cls: type, key: object, key_path: str) -> Iterator[str]:
    """The dotted paths of the fields with this name in the dataclasses below a dataclass."""
    for name, hint in typing.get_type_hints(cls).items():
        path = _join_keys(key_path, name)
        for nested in get_args(hint) if isinstance(hint, types.UnionType) else (hint,):
            if isinstance(nested, type) and is_dataclass(nested):
                if key in [f.name for f in fields(nested)]:
                    yield _join_keys(path, key)
                yield from _nested_paths(nested, key, path)


def _build_union_member(members: Sequence[type], raw: Any, file: str, key_path: str) -> Any:
    """Build the dataclass of a union whose field `name` allows the name in the mapping.

    Raises:
        InputError: there is no such name, or a key belongs to other members of the union only.
    """
    members_by_name = {name: cls for cls in members for name in get_args(typing.get_type_hints(cls)["name"])}
    known = ", ".join(members_by_name)
    if not isinstance(raw, dict):
        raise InputError(
            f"{file}: {key_path} must be a mapping with the key 'name', one of {known}; got {raw!r}"
        )
    name_path = _join_keys(key_path, "name")
    if "name" not in raw:
        raise InputError(f"{file}: key {name_path!r} is missing; add it, one of {known}")
    if (name := raw["name"]) not in [*members_by_name]:
        raise InputError(f"{file}: {name_path} is {name!r}; it must be one of {known}")
    cls = members_by_name[name]
    keys_by_name = {other: {f.name for f in fields(m)} for other, m in members_by_name.items()}
    for key in raw:
        readers = [other for other, keys in keys_by_name.items() if key in keys]
        if readers and name not in readers:
            raise InputError(
                f"{file}: key {_join_keys(key_path, key)!r} is read by {', '.join(readers)}, but {name_path}"
                f" is {name}; remove it"
            )
    return build_dataclass(cls, raw, file, key_path)


def _parse_value(hint: Any, value: Any, file: str, key_path: str) -> Any:
    """Check one value against its declared type. NaN is outside all `Bounds`.

    Only these are converted: int to float, list to tuple, mapping to dataclass.
    """
    if get_origin(hint) is Annotated:
        base_type, bounds = get_args(hint)
        number = _parse_value(base_type, value, file, key_path)
        if not bounds.low <= number <= bounds.high:
            raise InputError(f"{file}: {key_path} is {number}; it must be {bounds.description}")
        return number
    if isinstance(hint, type) and hasattr(hint, "__dataclass_fields__"):
        return build_dataclass(hint, value, file, key_path)
    if get_origin(hint) is Literal:
        if value not in get_args(hint):
            raise InputError(
                f"{file}: {key_path} is {value!r}; it must be one of {', '.join(get_args(hint))}"
            )
        return value
    if get_origin(hint) is tuple:
        item_type = get_args(hint)[0]
        if not isinstance(value, list):
            raise InputError(f"{file}: {key_path} must be a list, got {value!r}")
        return tuple(_parse_value(item_type, v, file, f"{key_path}[{i}]") for i, v in enumerate(value))
    if isinstance(hint, types.UnionType) and all(map(is_dataclass, get_args(hint))):
        return _build_union_member(get_args(hint), value, file, key_path)
    if isinstance(hint, types.UnionType):
        return None if value is None else _parse_value(get_args(hint)[0], value, file, key_path)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, hint) or (hint is int and isinstance(value, bool)):
        raise InputError(f"{file}: {key_path} must be of type {hint.__name__}, got {value!r}")
    return value


def replace_nested(config: Config, changes: Mapping[str, Any]) -> Config:
    """Copy a dataclass with other values. The key `model.dropout` is the field `dropout` of its `model`."""
    for key, value in changes.items():
        name, _, rest = key.partition(".")
        new = replace_nested(getattr(config, name), {rest: value}) if rest else value
        config = replace(config, **{name: new})  # type: ignore[type-var]
    return config


def _join_keys(key_path: str, key: object) -> str:
    return f"{key_path}.{key}" if key_path else str(key)
