"""The sessions of the page, and the codes that begin them: each stands for an API key."""

from pydantic import AwareDatetime

from pixyproxy.core.keys import ApiKey
from pixyproxy.core.model import Model


class Pass(Model):
    """What stands for an API key until `expires_at`, whoever holds its secret: a login code, or a session.

    `key` is the record of the key, as it was read together with the pass. The key of PIXYPROXY_API_KEY has none: its id
    is 0, and `seal` ties the pass to it.
    """

    api_key_id: int
    expires_at: AwareDatetime
    seal: str | None = None
    key: ApiKey | None = None


class Session(Pass):
    """A session of the page. `seen_at`: when it was last renewed."""

    created_at: AwareDatetime
    seen_at: AwareDatetime
