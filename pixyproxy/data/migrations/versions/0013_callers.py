"""Who drew an image, and the orders of the lists by caller."""

import sqlalchemy as sa

from pixyproxy.data.migrations.column_types import add_column_once, create_index_once

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    """Add `images.api_key_id`, as `generations` has it, and the indexes of the lists.

    NULL: a version without the search wrote the row. It is completed later, in batches, together with its words.
    """
    add_column_once("images", sa.Column("api_key_id", sa.BigInteger(), nullable=True))
    create_index_once("ix_images_created", "images", "created_at")
    create_index_once("ix_images_caller", "images", "api_key_id", "created_at")
    create_index_once("ix_generations_caller", "generations", "api_key_id", "created_at", "guid")
    create_index_once("ix_generations_caller_state", "generations", "api_key_id", "state", "created_at", "guid")
