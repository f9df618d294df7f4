"""What is wrong with a document, in our words and not in the library's."""

from __future__ import annotations

import re
from typing import Final

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from forge_core.text import shown

_COMPLAINTS: Final = {"missing": " is missing", "extra_forbidden": " is unknown"}
# The library calls every field "Input", or by its type; the path says which one it is.
_SUBJECT: Final = re.compile("[A-Z][a-z]+( input)? should ")


def what_is_wrong(error: ValidationError, model: type[BaseModel], *, path: str, name: str) -> str:
    """What is wrong with a document of ``model``: up to five problems, each with its path.

    When a field is missing or unknown, it ends with those that ``name`` has, required ones first.
    """
    problems = error.errors(include_url=False, include_input=False)[:5]
    said = [".".join([path, *map(_part, one["loc"])]) + _complaint(one) for one in problems]
    # What is wrong further inside belongs to another model, which an error does not name.
    if any(one["type"] in _COMPLAINTS and len(one["loc"]) == 1 for one in problems):
        said.append(f"{name} has: {', '.join(_field_names(model))}")
    return "; ".join(said)


def _complaint(problem: ErrorDetails) -> str:
    if problem["type"] in _COMPLAINTS:
        return _COMPLAINTS[problem["type"]]
    if problem["type"] in ("value_error", "assertion_error"):
        _, _, own_words = problem["msg"].partition(", ")
        return f": {own_words}"
    subject = _SUBJECT.match(problem["msg"])
    return f" must {problem['msg'][subject.end() :]}" if subject else f": {problem['msg']}"


def _part(part: int | str) -> str:
    plain = isinstance(part, str) and part.isidentifier() and part.isascii() and len(part) <= 60
    return str(part) if plain else shown(part)


def _field_names(model: type[BaseModel]) -> list[str]:
    """As a document spells them; required ones first."""
    fields = sorted(model.model_fields.items(), key=lambda item: not item[1].is_required())
    return [field.alias or name for name, field in fields]
