"""The release before the newest one, beside the newest one, on one database and one storage."""

import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import httpx2
import pytest

from pixyproxy.core.generations import RecordedRequest
from pixyproxy.data.generations import SqlGenerationRepository
from pixyproxy.data.init import open_database
from tests import planted
from tests.examples import a_generation
from tests.fakes import tiny_picture
from tests.servers import PixyProxy, SqlServer, clean_environment, run_cli

ROOT = Path(__file__).parent.parent
RELEASE_BEFORE = "b0f475d"
"""PixyProxy 0.1.0 as it was before the schema had `schema_version`."""
KEY = {"Authorization": f"Bearer {planted.API_KEY}"}


@pytest.fixture(scope="module")
def release_before(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The unpacked wheel of the release before, built from git."""
    known = subprocess.run(
        ["git", "cat-file", "-e", f"{RELEASE_BEFORE}^{{commit}}"], cwd=ROOT, capture_output=True, check=False
    )
    if known.returncode:
        pytest.skip(f"this checkout has no history: git fetch --unshallow brings {RELEASE_BEFORE}")
    folder = tmp_path_factory.mktemp("release-before")
    archive = subprocess.run(["git", "archive", RELEASE_BEFORE], cwd=ROOT, capture_output=True, check=True).stdout
    (folder / "source").mkdir()
    subprocess.run(["tar", "-x"], input=archive, cwd=folder / "source", check=True)
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "-q", "--disable-pip-version-check", "--no-deps", "-w", ".", "./source"],
        cwd=folder,
        check=True,
    )
    (wheel,) = folder.glob("pixyproxy-*.whl")
    with zipfile.ZipFile(wheel) as package:
        package.extractall(folder / "package")
    return folder / "package"


class Release:
    """A release of PixyProxy on the shared stores: the newest one, or the one unpacked in `package`."""

    def __init__(self, folder: Path, environment: dict[str, str], *, package: Path | None) -> None:
        folder.mkdir()
        self.folder = folder
        self.package = package
        self.environment = environment if package is None else {**environment, "PYTHONPATH": str(package)}
        self.server: PixyProxy | None = None

    def run(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """Run a command to its end."""
        if self.package is None:
            return run_cli(self.folder, *arguments, environment=self.environment)
        return subprocess.run(
            [sys.executable, "-m", "pixyproxy.cli", *arguments],
            cwd=self.folder,
            env=clean_environment(self.environment),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def serve(self) -> PixyProxy:
        """Start the server."""
        self.server = PixyProxy(self.folder, self.environment, defaults={})  # settings that both releases know
        if self.package is not None:
            self.server.process.command[:1] = [sys.executable, "-m", "pixyproxy.cli"]
        return self.server.start(path="/readyz")

    def stop(self) -> None:
        """End the server."""
        if self.server is not None:
            self.server.process.stop()


def draw(server: PixyProxy, prompt: str) -> dict[str, object]:
    """The details of a new image."""
    answer = httpx2.post(f"{server.url}/image", json={"prompt": prompt}, headers=KEY, timeout=30)
    assert answer.status_code == 201, answer.text
    details: dict[str, object] = answer.json()
    return details


def assert_serves(server: PixyProxy, images: list[dict[str, object]]) -> None:
    """Lists, details and content of these images."""
    listed = httpx2.get(f"{server.url}/image", headers=KEY).json()
    assert {entry["guid"] for entry in listed} == {image["guid"] for image in images}
    assert httpx2.get(f"{server.url}/generation", headers=KEY).status_code == 200
    for image in images:
        content = httpx2.get(f"{server.url}/image/{image['guid']}/content")
        assert (content.status_code, len(content.content)) == (200, image["size_bytes"])


def thumbnails_of(images: Path, guid: object) -> set[str]:
    """The thumbnails of an image in the storage."""
    return {path.name for path in images.rglob(f"{guid}.*.webp")}


def assert_leaves_thumbnails_alone(old: Release, new: Release, images: Path, image: dict[str, object]) -> None:
    """The release before takes thumbnails for nothing, and the newest removes those that it leaves."""
    assert old.server is not None
    assert new.server is not None
    guid = image["guid"]
    for size in (400, 800):
        answer = httpx2.get(f"{new.server.url}/image/{guid}/thumbnail?size={size}", timeout=30)
        assert (answer.status_code, answer.headers["content-type"]) == (200, "image/webp")
    both = {f"{guid}.400.webp", f"{guid}.800.webp"}
    for command in (("check",), ("reconcile", "--apply")):
        said = old.run(*command)
        assert (said.returncode, "webp" in said.stdout) == (0, False), said.stdout
        assert thumbnails_of(images, guid) == both
    assert httpx2.delete(f"{old.server.url}/image/{guid}", headers=KEY).status_code == 204
    assert thumbnails_of(images, guid) == both
    assert old.run("check").returncode == 0
    said = new.run("reconcile", "--apply")
    assert (said.returncode, "thumbnail without its image: 2, of these removed: 2" in said.stdout) == (0, True)
    assert thumbnails_of(images, guid) == set()


def assert_finds(server: PixyProxy, known: list[dict[str, object]], q: str, *, found: list[dict[str, object]]) -> None:
    """Of the images that are known a search, and one in those of the caller, finds these: newest first."""
    for caller in ({}, {"caller": "PIXYPROXY_API_KEY"}):
        listed = httpx2.get(f"{server.url}/image", params={"q": q, **caller}, headers=KEY).json()
        assert [entry["guid"] for entry in listed] == [image["guid"] for image in found[::-1]]
    assert len(httpx2.get(f"{server.url}/image", headers=KEY).json()) == len(known)


def assert_sessions_are_only_unknown(old: PixyProxy, new: PixyProxy) -> None:
    """The old release refuses what it does not know, and serves on."""
    headers = {"Host": "pictures.example"}
    begun = httpx2.post(f"{new.url}/session", json={"key": planted.API_KEY}, headers=headers)
    headers["Cookie"] = begun.headers["set-cookie"].partition(";")[0]
    assert httpx2.get(f"{new.url}/image", headers=headers).status_code == 200
    for method, path, status in (("GET", "/image", 401), ("GET", "/session", 404), ("POST", "/session", 404)):
        assert httpx2.request(method, f"{old.url}{path}", headers=headers).status_code == status
    assert httpx2.get(f"{old.url}/image", headers={**headers, **KEY}).status_code == 200


@pytest.mark.anyio
async def test_the_release_before_lives_restarts_and_reconciles_beside_the_newest(
    release_before: Path, mysql: SqlServer, unique: Callable[[], str], tmp_path: Path
) -> None:
    url = mysql.create(unique())
    images = tmp_path / "images"
    images.mkdir()
    environment = {
        "PIXYPROXY_DATABASE_URL": url,
        "PIXYPROXY_STORAGE_URL": f"file:{images}",
        "PIXYPROXY_API_KEY": planted.API_KEY,
        "PIXYPROXY_DEMO": "1",
        "PIXYPROXY_LEASE": "1",
        "PIXYPROXY_RECONCILE_INTERVAL": "3600",
    }
    old = Release(tmp_path / "old", environment, package=release_before)
    new = Release(tmp_path / "new", environment, package=None)
    try:
        assert old.run("migrate").returncode == 0
        old_server = old.serve()
        known = [draw(old_server, "by the old one")]

        refused = new.run("serve", "--port", "0")
        assert (refused.returncode, "pixyproxy migrate" in refused.stderr) == (2, True)
        assert new.run("migrate").returncode == 0
        new_server = new.serve()
        known.append(draw(old_server, "by the old one, on the newer schema"))
        known.append(draw(new_server, "by the new one"))
        for server in (old_server, new_server):
            assert_serves(server, known)

        assert new.run("reconcile", "--apply").returncode == 0
        assert_finds(new_server, known, "one by", found=known)
        assert_finds(new_server, known, "schema", found=known[1:2])  # recorded by the old one after the migration

        assert httpx2.delete(f"{old_server.url}/image/{known.pop(1)['guid']}", headers=KEY).status_code == 204
        assert_finds(new_server, known, "one by", found=known)

        assert_sessions_are_only_unknown(old_server, new_server)

        assert httpx2.delete(f"{new_server.url}/image/{known.pop(0)['guid']}", headers=KEY).status_code == 204
        assert_finds(new_server, known, "one by", found=known)
        old.stop()
        old_server = old.serve()
        known += [draw(server, "after the restart of the old one") for server in (old_server, new_server)]
        for server in (old_server, new_server):
            assert_serves(server, known)

        assert_leaves_thumbnails_alone(old, new, images, known.pop())

        database, close = open_database(url)
        for number, release in enumerate((old, new)):
            left_behind = a_generation(request=RecordedRequest(values={"prompt": f"left {number}", "model": "m"}))
            await SqlGenerationRepository(database).add(left_behind, lease=0)
            key = f"{left_behind.image_guid(0)}.png"
            file = images / key[:2] / key[2:4] / key
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(tiny_picture())
            said = release.run("reconcile", "--apply")
            assert (said.returncode, str(left_behind.guid) in said.stdout) == (0, True), said.stderr
            completed = await SqlGenerationRepository(database).get(left_behind.guid)
            assert [image.guid for image in completed.images] == [left_behind.image_guid(0)]
        close()
        for release in (old, new):
            assert release.run("migrate").returncode == 0
            assert release.run("check").returncode == 0
    finally:
        old.stop()
        new.stop()
