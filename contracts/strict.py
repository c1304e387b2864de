"""A mapping into a frozen dataclass, strictly: what is wrong is named, with the likely remedy."""

import difflib
import types
import typing
from dataclasses import fields
from typing import Any, Literal, get_args, get_origin

from contracts.errors import InputError


def build(kind: type, raw: Any, file: str, where: str = "") -> Any:
    """A dataclass from a mapping: every key there, none unknown, every value of its declared type.

    Args:
        file, where: what an error names, the file and the dotted path of `raw` in it.

    Raises:
        InputError: the first thing that is wrong.
    """
    if not isinstance(raw, dict):
        raise InputError(f"{file}: {where or 'the file'} must be a mapping, got {raw!r}")
    hints = typing.get_type_hints(kind)
    known = [f.name for f in fields(kind)]
    for key in raw:
        if key not in known:
            close = difflib.get_close_matches(str(key), known, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"known keys: {', '.join(known)}"
            raise InputError(f"{file}: unknown key {_join(where, key)!r}; {hint}")
    for key in known:
        if key not in raw:
            raise InputError(f"{file}: key {_join(where, key)!r} is missing; add it")
    return kind(**{key: _value(hints[key], raw[key], file, _join(where, key)) for key in known})


def _value(hint: Any, value: Any, file: str, where: str) -> Any:
    """One value of the declared type; an int passes for a float, nothing else is converted."""
    if isinstance(hint, type) and hasattr(hint, "__dataclass_fields__"):
        return build(hint, value, file, where)
    if get_origin(hint) is Literal:
        if value not in get_args(hint):
            raise InputError(f"{file}: {where} is {value!r}; it must be one of {', '.join(get_args(hint))}")
        return value
    if get_origin(hint) is tuple:
        item = get_args(hint)[0]
        if not isinstance(value, list):
            raise InputError(f"{file}: {where} must be a list, got {value!r}")
        return tuple(_value(item, v, file, f"{where}[{i}]") for i, v in enumerate(value))
    if isinstance(hint, types.UnionType):
        return None if value is None else _value(get_args(hint)[0], value, file, where)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, hint) or (hint is int and isinstance(value, bool)):
        raise InputError(f"{file}: {where} must be of type {hint.__name__}, got {value!r}")
    return value


def _join(where: str, key: object) -> str:
    return f"{where}.{key}" if where else str(key)
