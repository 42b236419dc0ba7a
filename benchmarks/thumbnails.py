"""Thumbnails: how much lighter they are, what making one costs, and how it slows other requests."""

import io
import random
import threading
import time

from PIL import Image as Pillow
from PIL import ImageChops

from benchmarks import names
from benchmarks.generation import p99_ms
from benchmarks.load import Gets, Plan, carried_out
from benchmarks.measuring import cpu_seconds, median
from benchmarks.run import Run, pid_of, stopping
from benchmarks.store import Planted
from benchmarks.wrk import Address, WrongAnswerError, ask
from tests.servers import PixyProxy

PART = "thumbnails"
MADE = 20
"""Thumbnails of each size that are made while nothing else happens."""
MEANWHILE = 4.0
"""Seconds in which thumbnails are made beside other requests."""
GETS_PER_S = 50.0


def planned_seconds(*, rounds: int, quick: bool) -> float:
    """How long the part should take."""
    return 15 + rounds * len(names.THUMBNAILS) * (4 if quick else 16)


def run(run: Run) -> None:
    """Every kind of picture in every round: alone for the cost, and then beside other requests."""
    run.progress.begin(PART, steps=run.rounds * len(names.THUMBNAILS))
    made, seconds = (3, 1.0) if run.quick else (MADE, MEANWHILE)
    with run.store(PART) as store:
        small = store.plant(16, size_bytes=names.SIZES["50 KB"])
        for case, (width, height, depth) in names.THUMBNAILS.items():
            picture = picture_of(width, height, depth=depth)
            server = store.serve(f"ours-{width}", CONTENT_CACHE_MB="0")
            with stopping(server):
                first = store.plant_picture(picture, width=width, height=height)
                get(server, first, 400)  # starts the worker
                for number in range(1, run.rounds + 1):
                    with run.tolerating(PART, case):
                        images = [store.plant_picture(picture, width=width, height=height) for _ in range(made)]
                        figures = alone(server, images, size_bytes=len(picture))
                        more = [store.plant_picture(picture, width=width, height=height) for _ in range(3 * made)]
                        figures |= meanwhile(server, more, small, seconds=seconds)
                        run.record(PART, case, names.OURS, number, picture_kb=len(picture) / 1000, **figures)
                        said = f"{figures['cpu_ms_400']:.0f} and {figures['cpu_ms_800']:.0f} ms of CPU"
                        run.progress.step(f"round {number}/{run.rounds} {case}: {said}")


def picture_of(width: int, height: int, *, depth: int) -> bytes:
    """A PNG of soft colours with some detail, under noise of so many bits."""
    chance = random.Random(width)  # noqa: S311 -- noise, and the same in every run

    def spots(across: int, down: int) -> Pillow.Image:
        return Pillow.frombytes("RGB", (across, down), chance.randbytes(across * down * 3))

    soft = Pillow.blend(spots(16, 9).resize((width, height)), spots(128, 72).resize((width, height)), 0.2)
    noise = spots(width, height).point(lambda value: value >> (8 - depth))
    file = io.BytesIO()
    ImageChops.add(soft, noise).save(file, "PNG")
    return file.getvalue()


def get(server: PixyProxy, image: Planted, size: int) -> int:
    """The bytes of a thumbnail; `WrongAnswerError` if there is none."""
    status, body, _ = ask(Address(server.port, ()), f"/image/{image.guid}/thumbnail?size={size}")
    if status != 200:
        raise WrongAnswerError(f"a thumbnail of {size}: {status}")
    return len(body)


def alone(server: PixyProxy, images: list[Planted], *, size_bytes: int) -> dict[str, float]:
    """Bytes, CPU of the process and its worker, and the time of a request, for each size."""
    figures: dict[str, float] = {}
    for size in (400, 800):
        before, sizes, times = cpu_seconds(pid_of(server)), [], []
        for image in images:
            begun = time.perf_counter()
            sizes.append(get(server, image, size))
            times.append((time.perf_counter() - begun) * 1000)
        spent = cpu_seconds(pid_of(server)) - before
        figures |= {
            f"kb_{size}": median(sizes) / 1000,
            f"lighter_{size}": size_bytes / median(sizes),
            f"cpu_ms_{size}": spent * 1000 / len(images),
            f"p50_ms_{size}": median(times),
        }
    return figures


def meanwhile(server: PixyProxy, images: list[Planted], small: list[Planted], *, seconds: float) -> dict[str, float]:
    """Latency of details and content: alone, and while one thumbnail after the other is made."""
    gets = {
        "details": Gets(server.port, [f"/image/{image.guid}" for image in small], GETS_PER_S),
        "content": Gets(server.port, [image.path for image in small], GETS_PER_S),
    }
    plan = Plan(gets=gets, seconds=seconds)
    before = carried_out(plan)
    made, ended = Makings(server, images), threading.Event()
    thread = threading.Thread(target=made.run, args=(ended,))
    thread.start()
    during = carried_out(plan)
    ended.set()
    thread.join()
    return {
        "made_meanwhile": made.count,
        "errors": made.errors + sum(each.status != 200 for name in gets for each in (*before[name], *during[name])),
        **{f"{name}_p99_ms_before": p99_ms(before[name]) for name in gets},
        **{f"{name}_p99_ms": p99_ms(during[name]) for name in gets},
    }


class Makings:
    """Requests thumbnails that were never made, one after the other, until it is told to end."""

    def __init__(self, server: PixyProxy, images: list[Planted]) -> None:
        self._server = server
        self._images = images
        self.count = self.errors = 0

    def run(self, ended: threading.Event) -> None:
        """Request them."""
        for size in (400, 800):
            for image in self._images:
                if ended.is_set():
                    return
                try:
                    get(self._server, image, size)
                    self.count += 1
                except (WrongAnswerError, OSError):
                    self.errors += 1
