"""Open a sample in napari, correct its labels, save them.

    python open_in_napari.py                          the whole sample
    python open_in_napari.py --particle 17            a box round particle 17
    python open_in_napari.py --region 0:200,0:512,0:512

Shift-N goes to the next suspect particle, Shift-S saves the labels as the edits that project.json
names. The labels that the pipeline made are only read. Needs napari with a Qt backend
(pip install "napari[all]"), zarr and numpy.
"""

from __future__ import annotations

import argparse
import csv
import getpass
import importlib
import itertools
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

Region = tuple[slice, slice, slice]

EDITED = "edited_labels.zarr"
_CHUNK_VX = 64
_LARGEST_VX = 700_000_000
_MARGIN_VX = 24


def read_project(folder: Path) -> dict[str, Any]:
    """Read the project's description: stores, voxel size, fingerprint."""
    project: dict[str, Any] = json.loads((folder / "project.json").read_text(encoding="utf-8"))
    return project


def read_suspects(folder: Path) -> list[dict[str, str]]:
    """Read the list of suspect particles, the most suspect first."""
    with (folder / "suspect.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def open_array(folder: Path, relative: str) -> zarr.Array[Any]:
    """Open one of the project's arrays for reading.

    Parameters
    ----------
    relative
        The array's path, as seen from the project.
    """
    return zarr.open_array(folder / relative, mode="r")


def find_edits(folder: Path, project: dict[str, Any]) -> bool:
    """Tell whether there are edits of the project's labels.

    Raises
    ------
    ValueError
        If there are edits, but of labels of an earlier segmentation.
    """
    if not (folder / project["edits"]).is_dir():
        return False
    made_from = open_array(folder, project["edits"]).attrs.get("original_fingerprint")
    if made_from != project["labels_fingerprint"]:
        raise ValueError(
            f"{(folder / project['edits']).resolve()} holds edits of other labels ({made_from}) "
            f"than the present ones ({project['labels_fingerprint']}): move them away to edit the "
            "present labels, or go back to the settings that made the others"
        )
    return True


def find_region(project: dict[str, Any], text: str | None, particle: int | None) -> Region:
    """Return the part of the volume to open.

    Parameters
    ----------
    text
        ``z0:z1,y0:y1,x0:x1`` in voxels, or None.
    particle
        A particle of the list, or None.

    Raises
    ------
    ValueError
        If the region cannot be read, the particle is unknown, or the whole volume was requested
        and is too large to be edited at once.
    """
    shape = project["shape_zyx"]
    if particle is not None:
        boxes = project["boxes_vx"]
        if str(particle) not in boxes:
            raise ValueError(f"particle {particle} is not in the particle list")
        bounds = [
            (max(0, low - _MARGIN_VX), min(n, high + _MARGIN_VX))
            for low, high, n in zip(*boxes[str(particle)], shape, strict=True)
        ]
    elif text is not None:
        parts = [part.split(":") for part in text.split(",")]
        if len(parts) != 3 or any(len(part) != 2 for part in parts):
            raise ValueError(f"region {text!r}: expected z0:z1,y0:y1,x0:x1 in voxels")
        bounds = [
            (max(0, int(low or 0)), min(n, int(high or n)))
            for (low, high), n in zip(parts, shape, strict=True)
        ]
        if any(low >= high for low, high in bounds):
            raise ValueError(f"region {text!r}: nothing of the volume lies in it")
    else:
        bounds = [(0, n) for n in shape]
        if np.prod(shape, dtype=np.float64) > _LARGEST_VX:
            raise ValueError(
                f"{' x '.join(map(str, shape))} voxels are too many to edit at once: give "
                "--particle or --region"
            )
    z, y, x = (slice(low, high) for low, high in bounds)
    return z, y, x


def add_layers(viewer: Any, folder: Path, region: Region) -> NDArray[np.uint32]:
    """Add image, probability, labels, cracks and suspect particles to a viewer.

    Parameters
    ----------
    viewer
        ``napari.Viewer`` or ``napari.components.ViewerModel``.

    Returns
    -------
    ndarray
        The labels that the viewer edits, (Z, Y, X); earlier edits are loaded.
    """
    project = read_project(folder)
    scale = tuple(project["voxel_size_um"])
    corner = tuple(part.start * size for part, size in zip(region, scale, strict=True))
    place = {"scale": scale, "translate": corner, "units": ("um", "um", "um")}
    stores = project["arrays"]
    image = np.asarray(open_array(folder, stores["image"])[region])
    low, high = np.percentile(image[:: max(1, len(image) // 16)], [0.5, 99.8])
    limits = (float(low), float(max(high, low + 1e-6)))
    viewer.add_image(image, name="image", contrast_limits=limits, **place)
    probability = np.asarray(open_array(folder, stores["probability"])[region])
    viewer.add_image(
        probability, name="probability", colormap="magma", opacity=0.5, blending="additive",
        contrast_limits=(0, 255), visible=False, **place,
    )  # fmt: skip
    if stores.get("cracks"):
        cracks = np.asarray(open_array(folder, stores["cracks"])[region]).astype(np.uint8)
        layer = viewer.add_labels(cracks, name="cracks", opacity=0.6, visible=False, **place)
        layer.editable = False
    source = project["edits"] if find_edits(folder, project) else stores["labels"]
    labels = np.asarray(open_array(folder, source)[region]).astype(np.uint32)
    viewer.add_labels(labels, name="labels", opacity=0.45, **place)
    _add_points(viewer, folder, scale)
    return labels


def _add_points(viewer: Any, folder: Path, scale: tuple[float, ...]) -> None:
    rows = read_suspects(folder)
    points = np.array([[float(row[f"{axis}_um"]) for axis in "zyx"] for row in rows])
    viewer.add_points(
        points.reshape(-1, 3) - np.array(scale) / 2,
        name="suspect",
        size=6 * max(scale),
        face_color="yellow",
        symbol="cross",
        units=("um", "um", "um"),
        out_of_slice_display=True,
        features={
            "particle_id": [int(row["particle_id"]) for row in rows],
            "reasons": [row["reasons"] for row in rows],
        },
        text={"string": "{particle_id}: {reasons}", "color": "yellow", "size": 8},
    )


def save_edits(folder: Path, labels: NDArray[np.uint32], region: Region) -> Path:
    """Write edited labels into the project's edits, the rest copied from the pipeline's.

    Parameters
    ----------
    labels
        Edited labels of the region, (Z, Y, X).

    Returns
    -------
    Path
        The store.

    Raises
    ------
    ValueError
        If there are edits of other labels, which are not overwritten.
    """
    project = read_project(folder)
    store = folder / str(project["edits"])
    if not find_edits(folder, project):
        store.parent.mkdir(parents=True, exist_ok=True)
        _copy_original(folder, project, store)
    array = zarr.open_array(store, mode="r+")
    array.attrs["saving"] = True
    array[region] = labels
    array.attrs.update(
        {
            "saving": False,
            "saved_at": datetime.now(UTC).isoformat(timespec="seconds"),
            "user": getpass.getuser(),
        }
    )
    return store


def _copy_original(folder: Path, project: dict[str, Any], store: Path) -> None:
    """Copy the labels a slab of chunks at a time, under another name until all are there."""
    original = open_array(folder, project["arrays"]["labels"])
    partial = store.with_name(f"{store.name}.partial")
    copy = zarr.create_array(
        partial,
        shape=original.shape,
        chunks=tuple(min(_CHUNK_VX, n) for n in original.shape),
        dtype="uint32",
        overwrite=True,
        attributes={
            "sample": project["sample"],
            "voxel_size_um": project["voxel_size_um"],
            "original_fingerprint": project["labels_fingerprint"],
        },
    )
    for start in range(0, original.shape[0], _CHUNK_VX):
        copy[start : start + _CHUNK_VX] = original[start : start + _CHUNK_VX]
    partial.rename(store)


def bind_keys(viewer: Any, folder: Path, region: Region) -> None:
    """Bind Shift-S to saving and Shift-N to the next suspect particle.

    Parameters
    ----------
    viewer
        A viewer with the layers of `add_layers`.
    """
    inside = [row for row in read_suspects(folder) if _is_inside(row, folder, region)]
    turns = itertools.cycle(inside)

    def save(viewer: Any) -> None:
        store = save_edits(folder, np.asarray(viewer.layers["labels"].data), region)
        viewer.status = f"saved to {store.resolve()}"

    def show_next(viewer: Any) -> None:
        if not inside:
            viewer.status = "no suspect particle in this part"
            return
        row = next(turns)
        point = [float(row[f"{axis}_um"]) for axis in "zyx"]
        viewer.dims.point = point
        viewer.camera.center = point
        viewer.layers["labels"].selected_label = int(row["particle_id"])
        viewer.status = f"particle {row['particle_id']}: {row['reasons']}"

    viewer.bind_key("Shift-S", save, overwrite=True)
    viewer.bind_key("Shift-N", show_next, overwrite=True)


def _is_inside(row: dict[str, str], folder: Path, region: Region) -> bool:
    sizes = read_project(folder)["voxel_size_um"]
    return all(
        part.start <= float(row[f"{axis}_um"]) / size < part.stop
        for axis, size, part in zip("zyx", sizes, region, strict=True)
    )


def main() -> None:
    """Open the project that this file lies in."""
    napari = importlib.import_module("napari")  # needs a screen; the rest of this file does not

    parser = argparse.ArgumentParser(description="Correct the labels of a sample by hand.")
    parser.add_argument("--particle", type=int, help="open a box round this particle")
    parser.add_argument("--region", help="open this part: z0:z1,y0:y1,x0:x1 in voxels")
    arguments = parser.parse_args()
    folder = Path(__file__).resolve().parent
    try:
        region = find_region(read_project(folder), arguments.region, arguments.particle)
        find_edits(folder, read_project(folder))
    except ValueError as error:
        parser.error(str(error))
    viewer = napari.Viewer(title=read_project(folder)["sample"], ndisplay=2)
    add_layers(viewer, folder, region)
    bind_keys(viewer, folder, region)
    viewer.layers.selection.active = viewer.layers["labels"]
    napari.run()


if __name__ == "__main__":
    main()
