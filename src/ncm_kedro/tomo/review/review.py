"""Which particles a person should look at first.

A project for the correction of labels by hand: what a person opens, and in which order.
"""

from __future__ import annotations

import importlib.resources
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ncm_kedro.atomic_write import write_atomic
from ncm_kedro.errors import TableError
from ncm_kedro.params.tomo_segment import TomoReviewParams
from ncm_kedro.tomo.volumes.volume import Volume

if TYPE_CHECKING:
    import zarr

_NEEDED = (
    "particle_id", "z_um", "y_um", "x_um", "equivalent_diameter_um", "touches_border",
    "probability", "disagreement",
)  # fmt: skip
_NECK = "neck_uncertainty"
_POINTS_PER_REASON = 0.5


def rank_suspects(particles: pd.DataFrame, params: TomoReviewParams) -> pd.DataFrame:
    """List the particles that are suspect, the most suspect first.

    A particle's doubt is its disagreement between the directions as a fraction of the limit, plus
    half a point for each further reason: low probability, a suspect neck, an unusual size. A
    particle that the border cuts has to be smaller still to be unusual.

    Parameters
    ----------
    particles
        Particle list: ``particle_id, z_um, y_um, x_um, equivalent_diameter_um, touches_border,
        probability, disagreement`` (both 0 to 1) and, where known, ``neck_uncertainty`` (0 to 1).

    Returns
    -------
    pandas.DataFrame
        The rows of ``particles`` that have a reason, with ``rank`` (from 1), ``doubt`` and
        ``reasons`` in front.

    Raises
    ------
    TableError
        If a column is missing.
    """
    missing = [name for name in _NEEDED if name not in particles]
    if missing:
        raise TableError(
            "particle list",
            found=f"no column {', '.join(missing)}",
            expected=f"the columns {', '.join(_NEEDED)}",
            action="run tomo_segment again with this version",
        )
    reasons = _find_reasons(particles, params)
    others = sum(mask.astype(np.int64) for name, mask in reasons.items() if "direction" not in name)
    doubt = particles["disagreement"] / params.max_disagreement + _POINTS_PER_REASON * others
    texts = [
        "; ".join(name for name, mask in reasons.items() if mask.iloc[row])
        for row in range(len(particles))
    ]
    rest = particles.drop(columns=["doubt"], errors="ignore").reset_index(drop=True)
    rest.insert(0, "reasons", pd.Series(texts, dtype="str"))
    rest.insert(0, "doubt", doubt.to_numpy(dtype=np.float64))
    chosen = rest[rest["reasons"] != ""].sort_values(
        ["doubt", "particle_id"], ascending=[False, True], ignore_index=True
    )
    chosen.insert(0, "rank", np.arange(1, len(chosen) + 1))
    return chosen.head(params.max_listed)


def _find_reasons(particles: pd.DataFrame, params: TomoReviewParams) -> dict[str, pd.Series]:
    whole = ~particles["touches_border"].astype(bool)
    size = particles["equivalent_diameter_um"]
    median = size[whole].median() if whole.any() else size.median()
    reasons = {
        "the directions disagree": particles["disagreement"] >= params.max_disagreement,
        "low probability": particles["probability"] < params.min_probability,
        "much larger than the others": whole & (size > median * params.max_size_factor),
        "much smaller than the others": whole & (size < median * params.min_size_fraction),
        "a small piece at the border": ~whole & (size < median * params.min_border_fraction),
    }
    if "z_start_vx" in particles:
        edges = [particles[f"{axis}_stop_vx"] - particles[f"{axis}_start_vx"] for axis in "zyx"]
        fill = particles["voxel_count"] / np.prod(edges, axis=0)
        reasons["fills its box less than the others"] = fill < params.min_box_fill * fill.median()
    if _NECK in particles:
        reasons["joined or parted at a suspect neck"] = (
            particles[_NECK] >= params.max_neck_uncertainty
        )
    return reasons


SCRIPT = "open_in_napari.py"
_README = """# Correct the labels of {sample} by hand

{count} of {total} particles are suspect; `suspect.csv` lists them, the most suspect first, with
the reason: the three directions disagree, low probability, a suspect neck, an unusual size.

1. `python {script}` opens image, probability, labels, cracks and the suspect particles in napari.
   For a large sample open a part: `python {script} --particle 17` or
   `--region 0:200,0:512,0:512` (z, y, x in voxels).
2. Shift-N goes to the next suspect particle and selects its label. Paint, fill or erase in the
   layer `labels`. To part a particle, give one part a new number (key M); to join two, fill one
   with the other's number; to delete one, fill it with 0. Each number is one particle: parts that
   keep the same number stay one particle even where they no longer touch.
3. Shift-S saves to `{edits}`. Save as often as you like; a later start
   resumes from there. The pipeline's own labels are only read.
4. `kedro run --pipelines tomo_review` takes the edits back as a new version of the labels and logs
   each change: which particles, deleted, added, merged, split or reshaped, voxels, time, user.

Delete that folder to start over; tomo_review then takes the edits out of the results. Edits belong
to the labels with the fingerprint {fingerprint}; when the labels are computed again, edits of the
old ones are neither opened nor mixed in.
"""


@dataclass(frozen=True)
class ReviewProject:
    """A sample's volumes and its suspect particles, ready to be written as a project.

    Attributes
    ----------
    particles, suspect
        Particle list, and the suspect ones of it in order of doubt.
    """

    image: Volume
    probability: Volume
    labels: Volume
    particles: pd.DataFrame
    suspect: pd.DataFrame


def plan_review(
    image: Volume,
    probability: Volume,
    labels: Volume,
    particles: pd.DataFrame,
    params: TomoReviewParams,
) -> ReviewProject:
    """Choose what a person shall look at.

    Parameters
    ----------
    particles
        Its particle list; bounding boxes, where it has them, in the columns ``z_start_vx,
        y_start_vx, x_start_vx, z_stop_vx, y_stop_vx, x_stop_vx``.
    """
    return ReviewProject(image, probability, labels, particles, rank_suspects(particles, params))


def write_review(project: ReviewProject, folder: Path, edits: Path) -> None:
    """Write a project; edits that lie there already are kept.

    Parameters
    ----------
    project
        What `plan_review` returned.
    folder
        The project's folder; made where it is missing.
    edits
        The store that edits are saved to.
    """
    folder.mkdir(parents=True, exist_ok=True)
    script = importlib.resources.files("ncm_kedro.tomo.review").joinpath("viewer.py")
    texts = {
        "project.json": json.dumps(describe_project(project, folder, edits), indent=1),
        "suspect.csv": project.suspect.to_csv(index=False, lineterminator="\n"),
        "README.md": _README.format(
            sample=project.image.name,
            count=len(project.suspect),
            total=len(project.particles),
            script=SCRIPT,
            fingerprint=project.labels.fingerprint,
            edits=os.path.relpath(edits.resolve(), folder.resolve()),
        ),
        SCRIPT: script.read_text(encoding="utf-8"),
    }
    for name, text in texts.items():
        write_atomic(folder / name, text.encode())


def describe_project(project: ReviewProject, folder: Path, edits: Path) -> dict[str, Any]:
    """Return what the viewer has to know, paths as seen from the project's folder.

    Parameters
    ----------
    project
        What `plan_review` returned.
    """
    arrays = {
        "image": project.image.array,
        "probability": project.probability.array,
        "labels": project.labels.array,
    }
    if "cracks" in project.labels.extras:
        arrays["cracks"] = project.labels.extras["cracks"]
    return {
        "sample": project.image.name,
        "shape_zyx": list(project.labels.shape_zyx),
        "voxel_size_um": [float(size) for size in project.labels.voxel_size_um],
        "labels_fingerprint": project.labels.fingerprint,
        "edits": Path(os.path.relpath(edits.resolve(), folder.resolve())).as_posix(),
        "arrays": {name: _locate(array, folder) for name, array in arrays.items()},
        "boxes_vx": _list_boxes(project),
    }


def _locate(array: zarr.Array, folder: Path) -> str:
    path = Path(str(array.store.root)) / array.path
    return Path(os.path.relpath(path.resolve(), folder.resolve())).as_posix()


def _list_boxes(project: ReviewProject) -> dict[str, list[list[int]]]:
    """Return the first voxel and one past the last of each particle's box.

    A list without boxes gets cubes of twice the particle's diameter.
    """
    table = project.particles
    shape = np.array(project.labels.shape_zyx)
    columns = [[f"{axis}_{end}_vx" for axis in "zyx"] for end in ("start", "stop")]
    if all(name in table for name in (*columns[0], *columns[1])):
        start, stop = (table[names].to_numpy(dtype=np.int64) for names in columns)
    else:
        sizes = np.array(project.labels.voxel_size_um)
        centre = table[["z_um", "y_um", "x_um"]].to_numpy(dtype=np.float64) / sizes
        reach = table["equivalent_diameter_um"].to_numpy(dtype=np.float64)[:, None] / sizes
        start = np.floor(np.maximum(centre - reach, 0)).astype(np.int64)
        stop = np.ceil(np.minimum(centre + reach, shape)).astype(np.int64)
    return {
        str(number): [low.tolist(), high.tolist()]
        for number, low, high in zip(table["particle_id"], start, stop, strict=True)
    }
