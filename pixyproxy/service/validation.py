"""Validates the arguments of the services, which do not rely on the validation in web."""

from typing import Any, TypeVar

from pydantic import BaseModel, TypeAdapter, ValidationError

from pixyproxy.core.exceptions import InvalidRequestError

T = TypeVar("T")


def revalidated(adapter: TypeAdapter[T], value: Any) -> T:
    """The value, validated again. `InvalidRequestError` names the broken rules."""
    plain = value.model_dump() if isinstance(value, BaseModel) else value
    try:
        return adapter.validate_python(plain)
    except ValidationError as error:
        raise InvalidRequestError(
            [
                {"detail": problem["msg"], "pointer": "#/" + "/".join(map(str, problem["loc"]))}
                for problem in error.errors(include_input=False, include_context=False, include_url=False)
            ]
        ) from None
