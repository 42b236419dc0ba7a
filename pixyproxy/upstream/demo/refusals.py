"""Errors as the OpenAI API words them."""

from typing import Any

MODERATION = "Your request was rejected by the safety system."


def error_body(
    message: str, *, param: str | None = None, code: str | None = None, kind: str = "invalid_request_error"
) -> dict[str, Any]:
    """The body of an error; `kind` is its `type`."""
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


class Refusal(Exception):  # noqa: N818 -- it is this server's answer, not an error of PixyProxy
    """A request that the API refuses."""

    def __init__(
        self,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        kind: str = "invalid_request_error",
        status: int = 400,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.body = error_body(message, param=param, code=code, kind=kind)

    @classmethod
    def of_moderation(cls) -> "Refusal":
        """The prompt or an image breaks the rules."""
        return cls(MODERATION, code="moderation_blocked", kind="image_generation_user_error")


def refuse_value(param: str, message: str) -> Refusal:
    """A value that its parameter does not take."""
    return Refusal(message, param=param, code="invalid_value")


def refuse_type(param: str, expected: str, value: Any) -> Refusal:
    """A value of the wrong type."""
    names = {bool: "a boolean", int: "an integer", float: "a decimal number", str: "a string", list: "an array"}
    got = names.get(type(value), "an object")
    message = f"Invalid type for '{param}': expected {expected}, but got {got} instead."
    return Refusal(message, param=param, code="invalid_type")
