"""Values of the scenario: references, expectations."""

import re
from typing import Any


def fill(value: Any, values: dict[str, str]) -> Any:
    """Replaces ${name} in all texts of a value."""
    if isinstance(value, str):

        def saved(found: re.Match[str]) -> str:
            if found[1] not in values:
                raise ValueError(f"no value {found[1]!r} was saved")
            return values[found[1]]

        return re.sub(r"\$\{([^}]+)\}", saved, value)
    if isinstance(value, list):
        return [fill(item, values) for item in value]
    if isinstance(value, dict):
        return {key: fill(item, values) for key, item in value.items()}
    return value


def save(step: dict, answer: Any, values: dict[str, str]) -> None:
    """Stores fields of an answer by their paths."""
    for name, path in step.get("save", {}).items():
        at = answer
        for key in path.split("."):
            at = at.get(key) if isinstance(at, dict) else None
        if not isinstance(at, str):
            raise ValueError(f"the answer has no {path} to save")
        values[name] = at


def match(path: str, expected: Any, actual: Any) -> None:
    """Compares: "*" is any value but an absent one, None an absent one; an object may have more
    fields, a list has exactly as many items."""
    if expected is None:
        fits = actual is None
    elif isinstance(expected, dict):
        fits = isinstance(actual, dict)
        if fits:
            for key, item in expected.items():
                match(f"{path}.{key}", item, actual.get(key))
    elif isinstance(expected, list):
        fits = isinstance(actual, list) and len(actual) == len(expected)
        if fits:
            for at, item in enumerate(expected):
                match(f"{path}[{at}]", item, actual[at])
    elif expected == "*":
        fits = actual is not None
    else:
        fits = actual == expected
    if not fits:
        raise AssertionError(f"{path} is {actual!r}, expected {expected!r}")


def texts(value: Any) -> list[str]:
    return value if isinstance(value, list) else [value]
