"""API keys as rows. Other versions write rows too: what this one does not know is left out."""

from typing import Any

from pixyproxy.core.keys import CONFIGURED_ID, EVERYTHING, ApiKey, KeyLimits, KeyRights, Scope, Scopes, in_order
from pixyproxy.data.conversions import column_to_time, optional_time, time_to_column
from pixyproxy.data.database import Row

SELECT = """
    SELECT id, name, prefix, created_at, revoked_at, scopes, expires_at, rotated_from, note, rate_per_minute,
        running_limit, replica_share
    FROM api_keys
"""


def row_to_api_key(row: Row) -> ApiKey:
    """The key of a row, without its digest. That of PIXYPROXY_API_KEY is revoked only for versions without this row."""
    return ApiKey(
        id=row["id"],
        name=row["name"],
        prefix=row["prefix"],
        created_at=column_to_time(row["created_at"]),
        revoked_at=None if row["id"] == CONFIGURED_ID else optional_time(row["revoked_at"]),
        rights=KeyRights.model_construct(
            scopes=column_to_scopes(row["scopes"]),
            expires_at=optional_time(row["expires_at"]),
            note=row["note"],
            limits=KeyLimits.model_construct(
                rate_per_minute=row["rate_per_minute"],
                running_limit=row["running_limit"],
                replica_share=row["replica_share"],
            ),
        ),
    )


def rights_to_row(rights: KeyRights) -> dict[str, Any]:
    """The columns of what a key may do."""
    return {
        "scopes": " ".join(in_order(rights.scopes)),
        "expires_at": None if rights.expires_at is None else time_to_column(rights.expires_at),
        "note": rights.note,
        **rights.limits.model_dump(),
    }


def column_to_scopes(text: str | None) -> Scopes:
    """The scopes; NULL, which a version without scopes writes, means all."""
    if text is None:
        return EVERYTHING
    known = {scope.value for scope in Scope}
    return frozenset(Scope(word) for word in text.split() if word in known)


def former_name(sha256: str) -> str:
    """What stands as the name of a former secret: no key can be named so."""
    return f"~{sha256[:63]}"
