"""A mapping into a frozen dataclass, strictly: what is wrong is named, with the likely remedy."""

import difflib
import math
import sys
import types
import typing
from dataclasses import dataclass, fields
from typing import Annotated, Any, Literal, get_args, get_origin

from contracts.errors import InputError


@dataclass(frozen=True)
class Within:
    """What a number may be, both ends included, and how that is said. Never NaN."""

    low: float
    high: float
    words: str


_FLOAT_MAX, _ABOVE_0 = sys.float_info.max, math.ulp(0.0)
Whole = Annotated[int, Within(0, math.inf, "0 or more")]
Seed = Annotated[int, Within(0, 2**32 - 1, f"from 0 to {2**32 - 1}")]
Count = Annotated[int, Within(1, math.inf, "1 or more")]
Finite = Annotated[float, Within(-_FLOAT_MAX, _FLOAT_MAX, "a finite number")]
NotNegative = Annotated[float, Within(0, _FLOAT_MAX, "a finite number, 0 or more")]
Positive = Annotated[float, Within(_ABOVE_0, _FLOAT_MAX, "finite and above 0")]
Share = Annotated[float, Within(0, 1, "from 0 to 1")]


def build(kind: type, raw: Any, file: str, where: str = "") -> Any:
    """A dataclass from a mapping: every key there, none unknown, every value of its declared type.

    Args:
        file, where: what an error names, the file and the dotted path of `raw` in it.

    Raises:
        InputError: the first thing that is wrong; a number that is `Within` other bounds, too.
    """
    if not isinstance(raw, dict):
        raise InputError(f"{file}: {where or 'the file'} must be a mapping, got {raw!r}")
    hints = typing.get_type_hints(kind, include_extras=True)
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
    if get_origin(hint) is Annotated:
        plain, bounds = get_args(hint)
        number = _value(plain, value, file, where)
        if not bounds.low <= number <= bounds.high:
            raise InputError(f"{file}: {where} is {number}; it must be {bounds.words}")
        return number
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
