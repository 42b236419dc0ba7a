"""The settings: a wrong or half-set configuration is one line that names the setting and never its value."""

import pytest

from pixyproxy.bootstrap.adapters import database_url, open_storage
from pixyproxy.bootstrap.app import build
from pixyproxy.core.exceptions import ConfigurationError, ModelNotFoundError
from pixyproxy.settings import read_settings
from pixyproxy.storage.folder import FolderImageStorage
from tests import planted

DATABASE = f"mysql+pymysql://pixyproxy:{planted.DATABASE_PASSWORD}@127.0.0.1:3306/pixyproxy"
REAL = {
    "PIXYPROXY_DATABASE_URL": DATABASE,
    "PIXYPROXY_STORAGE_URL": "s3://images",
    "OPENAI_API_KEY": planted.UPSTREAM_KEY,
}


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, s3_credentials: None) -> pytest.MonkeyPatch:
    """An environment without settings."""
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


def put(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)


def test_with_nothing_set_it_is_the_embedded_default() -> None:
    settings = read_settings()
    assert settings.embedded
    assert settings.draws_demo
    assert database_url(settings) == "sqlite:///pixyproxy-data/pixyproxy.db"
    assert isinstance(open_storage(settings), FolderImageStorage)
    assert (settings.host, settings.port) == ("127.0.0.1", 8000)
    assert (settings.quality, settings.generation_deadline, settings.max_generations) == ("medium", 270, 64)
    assert settings.finish_slots == 8
    assert (settings.sync_wait, settings.store_patience, settings.lease) == (50, 600, 30)
    assert (settings.reconcile_interval, settings.orphan_grace) == (30, 86_400)


def test_an_openai_key_alone_makes_the_embedded_default_draw_for_real(environment: pytest.MonkeyPatch) -> None:
    put(environment, {"OPENAI_API_KEY": planted.UPSTREAM_KEY})
    assert not read_settings().draws_demo


def test_empty_variables_count_as_unset_but_for_the_quality(environment: pytest.MonkeyPatch) -> None:
    names = ("DATABASE_URL", "STORAGE_URL", "PUBLIC_URL", "API_KEY", "PORT", "MODEL", "LOG_FORMAT", "DEMO")
    put(environment, {f"PIXYPROXY_{name}": "" for name in names} | {"OPENAI_API_KEY": "", "PIXYPROXY_QUALITY": ""})
    settings = read_settings()
    assert settings.embedded
    assert settings.draws_demo
    assert (settings.port, settings.quality) == (8000, "")


BOUNDS = [
    ("SYNC_WAIT", "0"),
    ("SYNC_WAIT", "3600"),
    ("SYNC_WAIT", "0.5"),
    ("DRAIN_DELAY", "0"),
    ("DRAIN_DELAY", "3600"),
    ("STORE_PATIENCE", "0"),
    ("STORE_PATIENCE", "86400"),
    ("LEASE", "1"),
    ("LEASE", "3600"),
    ("RECONCILE_INTERVAL", "0.1"),
    ("RECONCILE_INTERVAL", "3600"),
    ("ORPHAN_GRACE", "0"),
    ("ORPHAN_GRACE", "31536000"),
]


@pytest.mark.parametrize(("name", "value"), BOUNDS)
def test_a_time_may_be_as_short_and_as_long_as_its_bounds(
    environment: pytest.MonkeyPatch, name: str, value: str
) -> None:
    put(environment, {f"PIXYPROXY_{name}": value})
    settings = read_settings()
    assert getattr(settings, name.lower()) == float(value)
    build(settings)


@pytest.mark.parametrize("name", sorted({name for name, _ in BOUNDS}))
def test_a_time_that_is_empty_is_its_default(environment: pytest.MonkeyPatch, name: str) -> None:
    default = getattr(read_settings(), name.lower())
    put(environment, {f"PIXYPROXY_{name}": ""})
    assert getattr(read_settings(), name.lower()) == default


OUT_OF_BOUNDS = {
    "SYNC_WAIT": ("-1", "3601"),
    "DRAIN_DELAY": ("-1", "3601"),
    "STORE_PATIENCE": ("-1", "86401"),
    "LEASE": ("0", "0.9", "-30", "3601"),
    "RECONCILE_INTERVAL": ("0", "0.05", "-1", "3601"),
    "ORPHAN_GRACE": ("-1",),
}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (name, value)
        for name, values in OUT_OF_BOUNDS.items()
        for value in (*values, "planted-bad", "nan", "inf", "1 s")
    ],
)
def test_a_time_out_of_its_bounds_is_refused_by_name(environment: pytest.MonkeyPatch, name: str, value: str) -> None:
    put(environment, {f"PIXYPROXY_{name}": value})
    with pytest.raises(ConfigurationError) as caught:
        read_settings()
    assert caught.value.detail.startswith(f"PIXYPROXY_{name}: ")
    assert "\n" not in caught.value.detail
    assert "planted-bad" not in caught.value.detail


def test_a_real_configuration_is_taken(environment: pytest.MonkeyPatch) -> None:
    put(environment, REAL | {"PIXYPROXY_PUBLIC_URL": "https://pictures.example/", "PIXYPROXY_LOG_LEVEL": "info"})
    settings = read_settings()
    assert not settings.embedded
    assert not settings.draws_demo
    assert settings.public_url == "https://pictures.example"
    assert build(settings).services.public_url == "https://pictures.example"


def test_the_demo_may_draw_over_real_parts(environment: pytest.MonkeyPatch) -> None:
    put(environment, REAL | {"OPENAI_API_KEY": "", "PIXYPROXY_DEMO": "1"})
    assert read_settings().draws_demo


def test_the_models_are_the_configured_one_those_listed_and_the_aliases(environment: pytest.MonkeyPatch) -> None:
    assert build(read_settings()).services.models.names == ("pixyproxy-demo", "gpt-image-2.5-flare")
    put(environment, {"OPENAI_API_KEY": planted.UPSTREAM_KEY})
    models = build(read_settings()).services.models
    assert (models.names, models.resolve("any")) == (("gpt-image-2.5-flare",), "any")
    put(environment, {"PIXYPROXY_MODELS": "a, lab/b:1,", "PIXYPROXY_MODEL_ALIASES": "dall-e-3=a, dall-e-2=c"})
    models = build(read_settings()).services.models
    assert models.names == ("gpt-image-2.5-flare", "a", "lab/b:1")
    assert [models.resolve(name) for name in (None, "dall-e-3", "dall-e-2", "a")] == [
        "gpt-image-2.5-flare",
        "a",
        "c",
        "a",
    ]
    with pytest.raises(ModelNotFoundError):
        models.resolve("any")


WRONG: dict[str, tuple[dict[str, str], str]] = {
    "no upstream key": (REAL | {"OPENAI_API_KEY": ""}, "OPENAI_API_KEY"),
    "no storage": ({"PIXYPROXY_DATABASE_URL": DATABASE}, "PIXYPROXY_STORAGE_URL"),
    "no database": ({"PIXYPROXY_STORAGE_URL": "s3://images"}, "PIXYPROXY_DATABASE_URL"),
    "endpoint without bucket": ({"PIXYPROXY_S3_ENDPOINT_URL": "http://127.0.0.1:9000"}, "PIXYPROXY_S3_ENDPOINT_URL"),
    "endpoint": (REAL | {"PIXYPROXY_S3_ENDPOINT_URL": "minio:9000"}, "PIXYPROXY_S3_ENDPOINT_URL"),
    "port": ({"PIXYPROXY_PORT": "planted-bad"}, "PIXYPROXY_PORT"),
    "port too large": ({"PIXYPROXY_PORT": "65536"}, "PIXYPROXY_PORT"),
    "short key": ({"PIXYPROXY_API_KEY": "planted-bad"}, "PIXYPROXY_API_KEY"),
    "key with a space": ({"PIXYPROXY_API_KEY": "planted-bad key of many characters"}, "PIXYPROXY_API_KEY"),
    "key not ASCII": ({"PIXYPROXY_API_KEY": "planted-bad-ü-of-many-characters"}, "PIXYPROXY_API_KEY"),
    "public URL": ({"PIXYPROXY_PUBLIC_URL": "pictures.example/planted-bad"}, "PIXYPROXY_PUBLIC_URL"),
    "public URL with a query": ({"PIXYPROXY_PUBLIC_URL": "https://x/?planted-bad"}, "PIXYPROXY_PUBLIC_URL"),
    "endpoint with a port that is none": (
        REAL | {"PIXYPROXY_S3_ENDPOINT_URL": "http://a:b:c"},
        "PIXYPROXY_S3_ENDPOINT_URL",
    ),
    "region": (REAL | {"PIXYPROXY_S3_REGION": "planted bad"}, "PIXYPROXY_STORAGE_URL"),
    "addressing": (REAL | {"PIXYPROXY_S3_ADDRESSING": "planted-bad"}, "PIXYPROXY_S3_ADDRESSING"),
    "upstream key with a line break": ({"OPENAI_API_KEY": "planted-bad\n"}, "OPENAI_API_KEY"),
    "upstream key not ASCII": ({"OPENAI_API_KEY": "planted-bad-ü"}, "OPENAI_API_KEY"),
    "upstream URL": ({"OPENAI_BASE_URL": "ftp://planted-bad"}, "OPENAI_BASE_URL"),
    "deadline": ({"PIXYPROXY_GENERATION_DEADLINE": "0"}, "PIXYPROXY_GENERATION_DEADLINE"),
    "generations": ({"PIXYPROXY_MAX_GENERATIONS": "0"}, "PIXYPROXY_MAX_GENERATIONS"),
    "no finish slot": ({"PIXYPROXY_FINISH_SLOTS": "0"}, "PIXYPROXY_FINISH_SLOTS"),
    "too many finish slots": ({"PIXYPROXY_FINISH_SLOTS": "1001"}, "PIXYPROXY_FINISH_SLOTS"),
    "log format": ({"PIXYPROXY_LOG_FORMAT": "planted-bad"}, "PIXYPROXY_LOG_FORMAT"),
    "log level": ({"PIXYPROXY_LOG_LEVEL": "planted-bad"}, "PIXYPROXY_LOG_LEVEL"),
    "demo": ({"PIXYPROXY_DEMO": "planted-bad"}, "PIXYPROXY_DEMO"),
    "model": ({"PIXYPROXY_MODEL": "planted bad"}, "PIXYPROXY_MODEL"),
    "models": ({"PIXYPROXY_MODELS": "gpt-image-2,planted bad"}, "PIXYPROXY_MODELS"),
    "an alias of nothing": ({"PIXYPROXY_MODEL_ALIASES": "planted-bad"}, "PIXYPROXY_MODEL_ALIASES"),
    "an alias of two": ({"PIXYPROXY_MODEL_ALIASES": "planted-bad=a=b"}, "PIXYPROXY_MODEL_ALIASES"),
    "an alias of an alias": ({"PIXYPROXY_MODEL_ALIASES": "planted-bad=a,a=b"}, "PIXYPROXY_MODEL_ALIASES"),
    "an alias that is a model": (
        {"PIXYPROXY_MODEL_ALIASES": "planted-bad=a", "PIXYPROXY_MODELS": "planted-bad"},
        "PIXYPROXY_MODEL_ALIASES",
    ),
    "safety identifier": ({"PIXYPROXY_SAFETY_IDENTIFIER": "planted-bad"}, "PIXYPROXY_SAFETY_IDENTIFIER"),
    "a mistyped name": ({"PIXYPROXY_DATBASE_URL": DATABASE}, "did you mean PIXYPROXY_DATABASE_URL"),
    "no database URL": (REAL | {"PIXYPROXY_DATABASE_URL": "planted-bad"}, "PIXYPROXY_DATABASE_URL"),
    "another database": (REAL | {"PIXYPROXY_DATABASE_URL": "postgresql://planted-bad/x"}, "PIXYPROXY_DATABASE_URL"),
    "database without a name": (REAL | {"PIXYPROXY_DATABASE_URL": "mysql://planted-bad"}, "PIXYPROXY_DATABASE_URL"),
    "SQLite in memory": (REAL | {"PIXYPROXY_DATABASE_URL": "sqlite://"}, "PIXYPROXY_DATABASE_URL"),
    "storage scheme": (REAL | {"PIXYPROXY_STORAGE_URL": "gs://planted-bad"}, "PIXYPROXY_STORAGE_URL"),
    "bucket name": (REAL | {"PIXYPROXY_STORAGE_URL": "s3://PLANTED"}, "PIXYPROXY_STORAGE_URL"),
    "folder as a host": (REAL | {"PIXYPROXY_STORAGE_URL": "file://planted-bad/x"}, "PIXYPROXY_STORAGE_URL"),
    "no folder": (REAL | {"PIXYPROXY_STORAGE_URL": "file:"}, "PIXYPROXY_STORAGE_URL"),
    "no credentials": (REAL | {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}, "AWS_ACCESS_KEY_ID"),
}


@pytest.mark.parametrize(("variables", "named"), WRONG.values(), ids=WRONG.keys())
def test_a_wrong_configuration_is_named_in_one_line(
    environment: pytest.MonkeyPatch, variables: dict[str, str], named: str
) -> None:
    put(environment, variables | {"AWS_SHARED_CREDENTIALS_FILE": "/nonexistent", "AWS_CONFIG_FILE": "/nonexistent"})
    with pytest.raises(ConfigurationError) as caught:
        build(read_settings())
    detail = caught.value.detail
    assert named in detail
    assert "\n" not in detail
    for secret in (*planted.SECRETS, "planted-bad", "planted bad"):
        assert secret not in detail
