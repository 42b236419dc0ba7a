"""The picture of a run: three comparisons with other programs, at the width of a README.

`python -m benchmarks.picture RESULTS PICTURE`; it needs matplotlib, and of our modules only the results.
"""

import math
import sys
from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks import names
from benchmarks.results import Results

WIDTH, HEIGHT = 8.6, 5.4
"""Inches of 100 pixels."""
INK, QUIET, GRID = "#1f2328", "#59636e", "#d8dee4"
OURS, OTHERS = "#0f6fde", "#b6bec8"
CROWD = "1,000 × 20 s"
CONTENT = {
    names.USUAL: "usual endpoint\n(FastAPI, boto3)",
    names.NGINX: "nginx",
    names.DIRECT: "SeaweedFS directly",
    names.UNCACHED: "PixyProxy, no cache",
    names.CACHED: "PixyProxy, cached",
}
STYLE = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 10,
    "text.color": INK,
    "axes.edgecolor": GRID,
    "axes.labelcolor": QUIET,
    "xtick.color": QUIET,
    "ytick.color": INK,
    "svg.fonttype": "path",
    "svg.hashsalt": "pixyproxy",
}


def label(value: float, unit: str) -> str:
    """A value at the end of its bar."""
    if math.isnan(value):
        return "not measured"
    digits = f"{value:,.0f}" if abs(value) >= 20 else f"{value:.1f}" if abs(value) >= 1 else f"{value:.2f}"
    return f"{digits}{unit}"


def bars(axes: Axes, *, title: str, entries: Sequence[tuple[str, float]], unit: str) -> None:
    """Bars with their values at their ends; ours have the colour."""
    values = [0.0 if math.isnan(value) else value for _, value in entries]
    colours = [OURS if name.startswith("PixyProxy") else OTHERS for name, _ in entries]
    places = range(len(entries))
    axes.barh(places, values, color=colours, height=0.66, zorder=2)
    axes.set_yticks(places, [name for name, _ in entries])
    axes.invert_yaxis()
    most = max(values) or 1.0
    axes.set_xlim(0, most * 1.4)
    axes.set_xticks([])
    for place, (name, value) in enumerate(entries):
        ours = name.startswith("PixyProxy")
        axes.text(
            values[place] + most * 0.02,
            place,
            label(value, unit),
            va="center",
            fontsize=9.5,
            color=INK if ours else QUIET,
            fontweight="bold" if ours else "normal",
        )
    axes.set_title(title, loc="left", fontsize=10.5, fontweight="bold", pad=6)
    for side in ("top", "right", "bottom"):
        axes.spines[side].set_visible(False)
    axes.tick_params(axis="y", length=0)


def content(results: Results, figure: str, size: str) -> list[tuple[str, float]]:
    """A bar a contestant, at 16 connections."""
    case = names.content_case(size, names.CONNECTIONS[0])
    return [(words, results.median("content", case, who, figure)) for who, words in CONTENT.items()]


def generation(results: Results, figure: str) -> list[tuple[str, float]]:
    """A bar each of ours and of LiteLLM's with 1,000 generations at once."""
    return [(who, results.median("generation", CROWD, who, figure)) for who in (names.LITELLM, names.OURS)]


def draw(results: Results) -> Figure:
    """The complete picture."""
    mpl.rcParams.update(STYLE)
    figure = Figure(figsize=(WIDTH, HEIGHT), facecolor="white")
    above = figure.add_gridspec(1, 2, left=0.19, right=0.985, top=0.845, bottom=0.475, wspace=0.12)
    below = figure.add_gridspec(1, 3, left=0.19, right=0.985, top=0.27, bottom=0.085, wspace=0.14)
    upper = [figure.add_subplot(above[0, number]) for number in range(2)]
    lower = [figure.add_subplot(below[0, number]) for number in range(3)]
    size = "1.5 MB"
    bars(upper[0], title="requests/s (more is better)", entries=content(results, "requests_per_s", size), unit="")
    bars(upper[1], title="CPU a request (less is better)", entries=content(results, "cpu_ms", size), unit=" ms")
    bars(lower[0], title="CPU a picture", entries=generation(results, "cpu_ms"), unit=" ms")
    bars(lower[1], title="added time, median", entries=seconds(generation(results, "added_p50_ms")), unit=" s")
    bars(lower[2], title="growth of memory", entries=generation(results, "growth_mb"), unit=" MB")
    for axes in (upper[1], *lower[1:]):  # the names stand at the left of the row
        axes.set_yticklabels([])
    heading(figure, 0.945, f"Serving a picture of {size}", "16 connections, one process each")
    heading(figure, 0.365, "1,000 generations at once", "of 20 s each; less is better. LiteLLM's proxy stores nothing")
    machine, versions = results.facts["machine"], results.facts["versions"]
    where = f"{machine['cores']} cores, SeaweedFS {versions['SeaweedFS']}, MariaDB {short(versions['MariaDB'])}"
    others = f"nginx {versions['nginx']}, LiteLLM {versions['LiteLLM']}"
    if results.facts["quick"]:
        figure.text(0.015, 0.908, "a quick run: no figure means anything", fontsize=9, color="#cf222e")
    date = results.facts["date"].split()[0]
    figure.text(0.015, 0.025, f"{date}, {where}, {others}. Medians.", fontsize=8.5, color=QUIET)
    return figure


def seconds(entries: Sequence[tuple[str, float]]) -> list[tuple[str, float]]:
    """Milliseconds as seconds."""
    return [(name, value / 1e3) for name, value in entries]


def short(version: str) -> str:
    """A version without what its packager adds."""
    return version.partition("-")[0]


def heading(figure: Figure, height: float, title: str, words: str) -> None:
    """The heading of a row."""
    drawn = figure.text(0.015, height, title, fontsize=13, fontweight="bold")
    figure.draw_without_rendering()
    end = drawn.get_window_extent().transformed(figure.transFigure.inverted()).x1
    figure.text(end + 0.015, height, words, fontsize=10, color=QUIET)


def main() -> None:
    """Draw the results of the first argument into the second; its suffix says the format."""
    source, target = map(Path, sys.argv[1:3])
    draw(Results.load(source)).savefig(target, dpi=100, metadata={"Date": None} if target.suffix == ".svg" else {})


if __name__ == "__main__":
    main()
