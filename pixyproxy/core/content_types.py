"""The types of pictures that are kept."""

from typing import Literal

ContentType = Literal["image/png", "image/webp", "image/jpeg"]
