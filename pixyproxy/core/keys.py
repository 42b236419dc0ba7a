"""API keys and the callers who hold them."""

import re
from typing import Annotated

from pydantic import AwareDatetime, StringConstraints

from pixyproxy.core.model import Model

KEY_NAME = re.compile(r"[A-Za-z0-9._@-]{1,64}")
KeyName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._@-]+$", min_length=1, max_length=64)]
"""The name of a key, as a query has it."""


class Caller(Model):
    """Who makes a private request: an API key, by its record's id and its name."""

    api_key_id: int
    name: str


class ApiKey(Model):
    """A key's record. The key itself is known only to whoever it was shown to."""

    id: int
    name: str
    prefix: str
    created_at: AwareDatetime
    revoked_at: AwareDatetime | None = None
