"""Indexes for the list of generations and for what the reconciler asks."""

from pixyproxy.data.migrations.column_types import create_index_once

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """One for each list's order, one for the images of a generation, one for the images marked as deleted."""
    create_index_once("ix_generations_newest", "generations", "created_at", "guid")
    create_index_once("ix_generations_state_newest", "generations", "state", "created_at", "guid")
    create_index_once("ix_images_generation", "images", "generation_id")
    create_index_once("ix_images_deleted", "images", "deleted_at")
