"""Draws the rooms and who imports whom, from the code: docs/images/architecture.png."""

from __future__ import annotations

import tomllib
from collections import Counter
from pathlib import Path

import grimp
import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

ROOT = Path(__file__).parents[1]
PACKAGE = "ncm_kedro"
BOX_HEIGHT, ROW_HEIGHT, WIDTH = 0.62, 1.0, 16.0
SMALL_ROOMS = ("errors", "units", "provenance", "atomic_write")


def read_layers() -> list[list[str]]:
    """Return the rooms of each layer of the import contract, highest first."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    layers = next(item for item in contracts["contracts"] if item["type"] == "layers")["layers"]
    return [
        [name.strip().removeprefix(f"{PACKAGE}.") for name in layer.replace("|", ":").split(":")]
        for layer in layers
    ]


def count_imports(graph: grimp.ImportGraph) -> Counter[tuple[str, str]]:
    """Return the number of imports between rooms."""
    room_of = {module: _name_room(module) for module in graph.modules}
    pairs = Counter()
    for module in graph.modules:
        for imported in graph.find_modules_directly_imported_by(module):
            pair = (room_of[module], room_of[imported])
            if pair[0] != pair[1]:
                pairs[pair] += 1
    return pairs


def list_parts(graph: grimp.ImportGraph, room: str) -> list[str]:
    """Return the sub-packages of a room."""
    children = graph.find_children(f"{PACKAGE}.{room}")
    return sorted(child.split(".")[-1] for child in children if graph.find_children(child))


def main() -> None:
    """Draw every layer as a row, every room as a box, every import as an arrow downwards."""
    graph = grimp.build_graph(PACKAGE)
    layers = read_layers()
    figure, axes = plt.subplots(figsize=(15, 1.35 * len(layers)))
    boxes: dict[str, tuple[float, float]] = {}
    for row, rooms in enumerate(layers):
        y = (len(layers) - row) * ROW_HEIGHT
        shown = [room for room in rooms if room not in SMALL_ROOMS]
        width = WIDTH / len(shown)
        for place, room in enumerate(shown):
            x = (place + 0.5) * width
            boxes[room] = (x, y)
            _draw_room(axes, graph, room, layer=rooms, centre=(x, y), width=min(width - 0.25, 5.2))
    imports = count_imports(graph)
    for (source, target), count in imports.items():
        if source in boxes and target in boxes and target not in {"params", "errors"}:
            _draw_arrow(axes, boxes[source], boxes[target], count)
    axes.set(xlim=(0, WIDTH), ylim=(0.3, len(layers) + 0.7))
    axes.axis("off")
    target = ROOT / "docs" / "images" / "architecture.png"
    figure.savefig(target, dpi=110, bbox_inches="tight")
    print(target.relative_to(ROOT))


def _name_room(module: str) -> str:
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else PACKAGE


def _draw_room(
    axes: plt.Axes,
    graph: grimp.ImportGraph,
    room: str,
    *,
    layer: list[str],
    centre: tuple[float, float],
    width: float,
) -> None:
    x, y = centre
    axes.add_patch(
        FancyBboxPatch(
            (x - width / 2, y - BOX_HEIGHT / 2),
            width,
            BOX_HEIGHT,
            boxstyle="round,pad=0.02,rounding_size=0.08",
            facecolor="#f3f5f8",
            edgecolor="#1f5a8c",
            zorder=2,
        )
    )
    name = " · ".join([room, *(r for r in layer if r in SMALL_ROOMS)]) if room == "params" else room
    modules = [module for module in graph.modules if _name_room(module) == room]
    parts = list_parts(graph, room) if room != "pipelines" else []
    count = f"{len(modules)} modules" if len(modules) > 1 else ""
    below = _wrap(parts, width) if parts else count
    axes.text(x, y + 0.13, name, ha="center", va="center", weight="bold", fontsize=10, zorder=3)
    axes.text(x, y - 0.12, below, ha="center", va="center", fontsize=7.5, color="#56606e", zorder=3)


def _wrap(parts: list[str], width: float) -> str:
    per_line = max(1, int(width / 0.85))
    lines = [" ".join(parts[i : i + per_line]) for i in range(0, len(parts), per_line)]
    return "\n".join(lines)


def _draw_arrow(
    axes: plt.Axes, start: tuple[float, float], end: tuple[float, float], count: int
) -> None:
    side = 0.0 if abs(start[0] - end[0]) > 0.1 else 0.12 * (start[1] - end[1] - 1)
    axes.add_patch(
        FancyArrowPatch(
            (start[0], start[1] - BOX_HEIGHT / 2),
            (end[0], end[1] + BOX_HEIGHT / 2),
            arrowstyle="-|>",
            mutation_scale=9,
            linewidth=0.4 + 0.03 * min(count, 60),
            color="#7a8797",
            alpha=0.55,
            connectionstyle=f"arc3,rad={side}",
            zorder=1,
        )
    )


if __name__ == "__main__":
    main()
