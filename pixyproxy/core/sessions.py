"""The sessions of the page, and the codes that begin them: each stands for an API key."""

from pydantic import AwareDatetime

from pixyproxy.core.keys import ApiKey
from pixyproxy.core.model import Model


class Pass(Model):
    """What stands for an API key until `expires_at`, whoever holds its secret: a login code, or a session.

    `key` is the record of the key, as it was read together with the pass. It is None for the key of
    PIXYPROXY_API_KEY, whose id is 0: `seal` ties the pass to that one.
    """

    api_key_id: int
    expires_at: AwareDatetime
    seal: str | None = None
    key: ApiKey | None = None


class Session(Pass):
    """A session of the page. `seen_at`: when it was last renewed.

    `key_sha256`: the digest of the key with which it began, so that it ends with that secret when the key is rotated;
    None: it began with a login code, and ends with the key alone.
    """

    created_at: AwareDatetime
    seen_at: AwareDatetime
    key_sha256: str | None = None
