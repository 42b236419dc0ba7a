"""The settings, read from the environment. Only cli and bootstrap read them; docs/configuration.md lists every one."""

import difflib
import os
import re
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from pixyproxy.core.exceptions import ConfigurationError

PREFIX = "PIXYPROXY_"
MODEL = r"[A-Za-z0-9][A-Za-z0-9._:/-]{0,63}"


class Settings(BaseSettings):
    """Every setting, under its name in the environment. An empty value counts as unset, but for the quality."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, frozen=True, extra="ignore", hide_input_in_errors=True, populate_by_name=True
    )

    data_dir: Path = Path("./pixyproxy-data")
    database_url: SecretStr | None = None
    storage_url: str | None = None
    s3_endpoint_url: str | None = None
    s3_region: str = "us-east-1"
    s3_addressing: Literal["auto", "path", "virtual"] = "auto"
    openai_api_key: SecretStr | None = Field(default=None, alias="OPENAI_API_KEY")
    openai_base_url: str | None = Field(default=None, alias="OPENAI_BASE_URL")
    model: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:/-]*$", max_length=64)] | None = None
    models: str | None = None
    model_aliases: str | None = None
    safety_identifier: Literal["key"] | None = None
    quality: str = Field(default="medium", pattern=r"^[A-Za-z0-9]*$", max_length=64)
    host: str = "127.0.0.1"
    port: int = Field(default=8000, ge=0, le=65535)
    max_connections: int = Field(default=10_000, ge=1, le=1_000_000)
    api_key: SecretStr | None = None
    public_url: str | None = None
    cors_origins: str = "*"
    mcp: bool = True
    generation_deadline: float = Field(default=270, gt=0, le=3600)
    max_generations: int = Field(default=64, ge=1, le=100_000)
    finish_slots: int = Field(default=8, ge=1, le=1000)
    upload_mb: int = Field(default=1024, ge=1, le=1_048_576)
    sync_wait: float = Field(default=50, ge=0, le=3600)
    store_patience: float = Field(default=600, ge=0, le=86_400)
    lease: float = Field(default=30, ge=1, le=3600)
    drain_delay: float = Field(default=5, ge=0, le=3600)
    reconcile_interval: float = Field(default=30, ge=0.1, le=3600)
    orphan_grace: float = Field(default=86_400, ge=0, le=10 * 365 * 86_400)
    content_cache_mb: int = Field(default=64, ge=0, le=1_048_576)
    cache_ttl: float = Field(default=30, ge=0, le=3600)
    log_format: Literal["text", "json"] = "text"
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"] = "INFO"
    demo: bool = False

    @field_validator("*", mode="before")
    @classmethod
    def empty_is_unset(cls, value: object, info: object) -> object:
        """Compose files pass unset variables on as empty ones."""
        name = getattr(info, "field_name", "")
        if value == "" and name != "quality":
            return cls.model_fields[name].get_default()
        return value

    @field_validator("log_level", mode="before")
    @classmethod
    def upper_case(cls, value: object) -> object:
        """Accept lower case: `info` for `INFO`."""
        return value.upper() if isinstance(value, str) else value

    @field_validator("api_key")
    @classmethod
    def strong_enough(cls, value: SecretStr | None) -> SecretStr | None:
        """A key that fits into a header and is long enough not to be guessed."""
        if value is not None and not re.fullmatch(r"[!-~]{20,}", value.get_secret_value()):
            raise ValueError("needs 20 or more printable ASCII characters, without spaces")
        return value

    @field_validator("openai_api_key")
    @classmethod
    def can_stand_in_a_header(cls, value: SecretStr | None) -> SecretStr | None:
        """Mounted secrets often end with a line break, which a header cannot contain."""
        if value is not None and not re.fullmatch(r"[!-~]+", value.get_secret_value()):
            raise ValueError("must be printable ASCII, without spaces and without a line break at its end")
        return value

    @field_validator("cors_origins")
    @classmethod
    def are_origins(cls, value: str) -> str:
        """`*`, `none`, or origins as browsers send them."""
        origins = value.split()
        if value not in ("*", "none") and not all(
            re.fullmatch(r"https?://([a-z0-9.-]+|\[[0-9a-f:]+\])(:[0-9]{1,5})?", origin) for origin in origins
        ):
            raise ValueError("must be *, none, or origins such as https://app.example, separated by spaces")
        return value

    @field_validator("models")
    @classmethod
    def are_models(cls, value: str | None) -> str | None:
        """Names of models."""
        if value is not None and not all(re.fullmatch(MODEL, name) for name in items_of(value)):
            raise ValueError("must be names of models, separated by commas")
        return value

    @field_validator("model_aliases")
    @classmethod
    def are_aliases(cls, value: str | None) -> str | None:
        """Aliases must stand for models, not for other aliases."""
        pairs = [pair.partition("=") for pair in items_of(value or "")]
        if not all(re.fullmatch(MODEL, alias) and re.fullmatch(MODEL, model) for alias, _, model in pairs):
            raise ValueError("must be ALIAS=MODEL, several separated by commas")
        if {alias for alias, _, _ in pairs} & {model for _, _, model in pairs}:
            raise ValueError("an alias must stand for a model, not for an alias")
        return value

    @field_validator("public_url", "s3_endpoint_url", "openai_base_url")
    @classmethod
    def is_http(cls, value: str | None) -> str | None:
        """An address that a client can use; without the slash at its end."""
        if value is not None and not re.fullmatch(
            r"https?://([A-Za-z0-9._-]+|\[[0-9A-Fa-f:]+\])(:[0-9]{1,5})?(/[^?#\s]*)?", value
        ):
            raise ValueError("must be an http:// or https:// URL, without a query")
        return value.rstrip("/") if value else value

    @model_validator(mode="after")
    def nothing_is_half_set(self) -> Self:
        """A real database with images in a local folder, or the reverse, is a mistake that can lose images."""
        if (self.database_url is None) != (self.storage_url is None):
            missing, given, example = (
                ("STORAGE_URL", "DATABASE_URL", "s3://bucket, or file:/folder")
                if self.storage_url is None
                else ("DATABASE_URL", "STORAGE_URL", "mysql+pymysql://user:password@host/pixyproxy, or sqlite:////file")
            )
            raise ConfigurationError(
                f"{PREFIX}{missing} is not set, but {PREFIX}{given} is: set both ({example}) or neither"
            )
        if self.s3_endpoint_url is not None and not (self.storage_url or "").startswith("s3:"):
            raise ConfigurationError(
                f"{PREFIX}S3_ENDPOINT_URL is set, but {PREFIX}STORAGE_URL is no s3:// URL: set both or neither"
            )
        if self.alias_map.keys() & {*self.model_list, self.model}:
            raise ConfigurationError(f"{PREFIX}MODEL_ALIASES: an alias has the name of a model that is offered itself")
        return self

    @property
    def model_list(self) -> tuple[str, ...]:
        """What `models` lists."""
        return tuple(items_of(self.models or ""))

    @property
    def alias_map(self) -> dict[str, str]:
        """The model of each alias."""
        pairs = (pair.partition("=") for pair in items_of(self.model_aliases or ""))
        return {alias: model for alias, _, model in pairs}

    @property
    def embedded(self) -> bool:
        """Whether this is the embedded default: SQLite and a folder under `data_dir`."""
        return self.database_url is None

    @property
    def draws_demo(self) -> bool:
        """Whether pictures come from the demo upstream inside the process."""
        return self.demo or self.openai_api_key is None


def items_of(value: str) -> list[str]:
    """The items of a list with commas; spaces around them do not count."""
    return [item.strip() for item in value.split(",") if item.strip()]


def read_settings() -> Settings:
    """The settings. `ConfigurationError` names the first wrong one, and never its value."""
    known = {f"{PREFIX}{name}".upper() for name, field in Settings.model_fields.items() if field.alias is None}
    for name in sorted(os.environ):
        if name.upper().startswith(PREFIX) and name not in known:
            close = difflib.get_close_matches(name.upper(), known, n=1)
            raise ConfigurationError(f"{name} is not a setting" + (f"; did you mean {close[0]}?" if close else ""))
    try:
        return Settings()
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        field = str(first["loc"][0]) if first["loc"] else ""
        name = field if field.startswith("OPENAI_") else f"{PREFIX}{field.upper()}"
        raise ConfigurationError(f"{name}: {first['msg'].removeprefix('Value error, ')}") from None
