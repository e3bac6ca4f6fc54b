"""The user's own training pairs: grey images with label images, or with VIA annotations.

Layouts, in the folder or in one below it per session:

- ``<name>.tif`` beside ``<name>_labels.tif``;
- ``images/<name>.tif`` and ``masks/<name>.tif`` (or ``labels/``);
- images beside a JSON or CSV file of the VGG Image Annotator (VIA, versions 1 and 2), regions as
  polygon, polyline, circle, ellipse or rect.
"""

from __future__ import annotations

import csv
import json
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from scipy import ndimage
from skimage.draw import ellipse, polygon, rectangle

from ncm_kedro.errors import FrameError
from ncm_kedro.tomo.training.crops import LabelledSection, resize_section
from ncm_kedro.tomo.volumes.volume import measure_grey_range, normalise_sections

IMAGE_SUFFIXES = frozenset({".tif", ".tiff", ".png", ".jpg", ".jpeg"})

_LABEL_ENDINGS = ("_labels", "_label", "_mask", "_masks")
_MASK_FOLDERS = ("masks", "labels")
_ANNOTATION_SUFFIXES = frozenset({".json", ".csv"})
_EXPECTED = (
    "<name>.tif beside <name>_labels.tif, folders images/ and masks/, or images beside a VIA "
    "annotation (.json or .csv)"
)


@dataclass(frozen=True)
class Pair:
    """An image and where its outlines are.

    Attributes
    ----------
    labels
        File of the label image or of the annotation.
    key
        Name of the image in the annotation; None for a label image.
    """

    image: Path
    labels: Path
    key: str | None = None


def find_pairs(folder: Path) -> list[Pair]:
    """Find all pairs below a folder.

    Returns
    -------
    list of Pair
        Sorted by image.

    Raises
    ------
    FrameError
        If there is not one, or an image has no outlines.
    """
    if not folder.is_dir():
        raise FrameError(
            folder, found="no such folder", expected=_EXPECTED, action="correct pairs_folder"
        )
    places = [folder, *sorted(path for path in folder.rglob("*") if path.is_dir())]
    pairs = [pair for place in places for pair in _find_here(place)]
    if not pairs:
        raise FrameError(
            folder,
            found="no image with outlines",
            expected=_EXPECTED,
            action="add pairs, or set pairs_folder to null to train on phantoms alone",
        )
    return sorted(pairs, key=lambda pair: str(pair.image))


def load_pair(pair: Pair, *, particle_px: float | None = None) -> LabelledSection:
    """Load an image with its labels.

    Parameters
    ----------
    particle_px
        Diameter in px that the median particle is brought to where it is off by more than a
        quarter; None to leave the image as it is.

    Returns
    -------
    LabelledSection
        Normalised image (H, W) and labels 1..n.

    Raises
    ------
    FrameError
        If a file cannot be read, or the two do not belong together.
    """
    image = read_grey(pair.image)
    if pair.key is None:
        labels = _read_labels(pair)
    else:
        labels = draw_regions(read_via(pair.labels)[pair.key], image.shape, pair.labels)
    if labels.shape != image.shape:
        raise FrameError(
            pair.labels,
            found=f"labels of {labels.shape[0]} x {labels.shape[1]} px",
            expected=f"{image.shape[0]} x {image.shape[1]}, as {pair.image.name}",
            action="export the labels again at the image's size",
        )
    if not labels.any():
        raise FrameError(
            pair.labels,
            found="no particle",
            expected="at least one outlined particle",
            action="outline the particles of this image, or remove it",
        )
    section = LabelledSection(normalise_sections(image, *measure_grey_range(image)), labels)
    return section if particle_px is None else _rescale(section, particle_px)


def read_grey(path: Path) -> NDArray[np.generic]:
    """Read one grey image; the channels of a colour image are averaged.

    Raises
    ------
    FrameError
        If it cannot be read or is not one image.
    """
    image = _read_image(path)
    if image.ndim == 3 and image.shape[-1] in {3, 4}:
        image = image[..., :3].mean(axis=-1)
    if image.ndim != 2 or min(image.shape) < 2:
        raise FrameError(
            path,
            found=f"an image of shape {image.shape}",
            expected="one grey image (H, W)",
            action="save each slice as its own file",
        )
    return image


def _find_here(place: Path) -> Iterator[Pair]:
    if place.name in _MASK_FOLDERS and (place.parent / "images").is_dir():
        return
    images = sorted(p for p in place.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES)
    by_stem = {path.stem: path for path in images}
    annotated = {
        key: path
        for path in sorted(place.iterdir())
        if path.suffix.lower() in _ANNOTATION_SUFFIXES
        for key in read_via(path)
    }
    for path in images:
        if path.stem.endswith(_LABEL_ENDINGS):
            continue
        beside = [by_stem[path.stem + end] for end in _LABEL_ENDINGS if path.stem + end in by_stem]
        if beside:
            yield Pair(path, beside[0])
        elif path.name in annotated:
            yield Pair(path, annotated[path.name], path.name)
        elif place.name == "images":
            yield Pair(path, _find_mask(path))


def _find_mask(image: Path) -> Path:
    """Find the mask of an image in a folder ``images``."""
    for folder in _MASK_FOLDERS:
        for path in sorted((image.parent.parent / folder).glob(f"{image.stem}*")):
            stem = path.stem
            for ending in _LABEL_ENDINGS:
                stem = stem.removesuffix(ending)
            if stem == image.stem and path.suffix.lower() in IMAGE_SUFFIXES:
                return path
    raise FrameError(
        image,
        found="no label image of the same name in masks/ or labels/",
        expected=_EXPECTED,
        action="add the label image, or remove the image",
    )


def _read_labels(pair: Pair) -> NDArray[np.int32]:
    """Read labels; an image of one value beside 0 is split into connected components."""
    stored = _read_image(pair.labels)
    if stored.ndim == 3 and stored.shape[-1] in {3, 4}:
        colours = stored[..., :3].astype(np.int64) @ np.array([65536, 256, 1])
        stored = colours
    if stored.ndim != 2 or not (np.isfinite(stored).all() and (stored == np.rint(stored)).all()):
        raise FrameError(
            pair.labels,
            found=f"an array of shape {stored.shape}, type {stored.dtype}",
            expected="whole numbers (H, W): 0 background, one number per particle",
            action="export the labels as a 16-bit TIFF",
        )
    values, labels = np.unique(stored, return_inverse=True)
    labels = labels.reshape(stored.shape) + (0 if values[0] == 0 else 1)
    if labels.max() == 1:
        labels, _ = ndimage.label(labels)
    return np.asarray(labels, np.int32)


def _read_image(path: Path) -> NDArray[np.generic]:
    try:
        if path.suffix.lower() in {".tif", ".tiff"}:
            return np.squeeze(np.asarray(tifffile.imread(path)))
        with Image.open(path) as image:
            return np.squeeze(np.asarray(image))
    except (OSError, ValueError, struct.error, UnidentifiedImageError) as error:
        raise FrameError(
            path,
            found=f"a file that cannot be read ({error})",
            expected="a TIFF, PNG or JPEG image",
            action="export the image again",
        ) from error


def _rescale(section: LabelledSection, particle_px: float) -> LabelledSection:
    areas = np.bincount(section.labels_yx.ravel())[1:]
    median = float(np.median(2 * np.sqrt(areas[areas > 0] / np.pi)))
    scale = particle_px / median
    return section if 1 / 1.25 <= scale <= 1.25 else resize_section(section, scale)


Region = Mapping[str, Any]
Pixels = tuple[NDArray[np.intp], NDArray[np.intp]]

_CSV_COLUMNS = ("filename", "region_shape_attributes")
_SHAPES = "polygon, polyline, circle, ellipse or rect"


def read_via(path: Path) -> dict[str, list[Region]]:
    """Read the regions of each image of an annotation.

    Parameters
    ----------
    path
        A VIA project, a VIA JSON export, or a VIA CSV export.

    Returns
    -------
    dict
        Shape attributes by file name, in their order; empty for a file of another kind.

    Raises
    ------
    FrameError
        If the file is a damaged annotation.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
        if path.suffix.lower() == ".csv":
            return _parse_csv(text)
        return _parse_json(json.loads(text))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise FrameError(
            path,
            found=f"an annotation that cannot be read ({error!r})",
            expected="JSON or CSV as VIA exports it",
            action="export the annotation again, or remove the file",
        ) from error


def draw_regions(
    regions: list[Region], shape_yx: tuple[int, ...], where: Path
) -> NDArray[np.int32]:
    """Draw regions as labels 1..n; later ones lie on top.

    Returns
    -------
    ndarray of int32
        Labels (H, W), 0 for background.

    Raises
    ------
    FrameError
        If a region is of a shape that is no area, or lacks an attribute.
    """
    labels = np.zeros(shape_yx, np.int32)
    for number, region in enumerate(regions, start=1):
        try:
            rows, columns = _fill_region(region, (int(shape_yx[0]), int(shape_yx[1])))
        except (KeyError, TypeError, ValueError) as error:
            raise FrameError(
                f"{where}, region {number}",
                found=f"shape {region.get('name')!r} that cannot be drawn ({error!r})",
                expected=_SHAPES,
                action="redraw the region in VIA, or delete it",
            ) from error
        labels[rows, columns] = number
    return labels


def _parse_json(content: Any) -> dict[str, list[Region]]:
    """Parse a project (``_via_img_metadata``) or an export; regions are lists or numbered."""
    if not isinstance(content, dict):
        return {}
    entries = content.get("_via_img_metadata", content)
    images: dict[str, list[Region]] = {}
    for entry in entries.values():
        if not (isinstance(entry, dict) and "filename" in entry and "regions" in entry):
            continue
        regions = entry["regions"]
        listed = regions.values() if isinstance(regions, dict) else regions
        images[str(entry["filename"])] = [region["shape_attributes"] for region in listed]
    return images


def _parse_csv(text: str) -> dict[str, list[Region]]:
    reader = csv.DictReader(text.splitlines())
    names = {name.lstrip("#").strip(): name for name in reader.fieldnames or ()}
    if not all(column in names for column in _CSV_COLUMNS):
        return {}
    images: dict[str, list[Region]] = {}
    for row in reader:
        attributes = json.loads(row[names["region_shape_attributes"]] or "{}")
        regions = images.setdefault(row[names["filename"]], [])
        if attributes:
            regions.append(attributes)
    return images


def _fill_region(region: Region, shape_yx: tuple[int, int]) -> Pixels:
    match region["name"]:
        case "polygon" | "polyline":
            columns, rows = region["all_points_x"], region["all_points_y"]
            if len(rows) < 3 or len(rows) != len(columns):
                raise ValueError(f"{len(rows)} y and {len(columns)} x coordinates")
            pixels: Pixels = polygon(np.array(rows, float), np.array(columns, float), shape_yx)
        case "circle":
            pixels = ellipse(region["cy"], region["cx"], region["r"], region["r"], shape_yx)
        case "ellipse":
            turn = -float(region.get("theta", 0.0))  # VIA turns clockwise on the screen
            pixels = ellipse(
                region["cy"], region["cx"], region["ry"], region["rx"], shape_yx, rotation=turn
            )
        case "rect":
            top, left = int(region["y"]), int(region["x"])
            extent = (int(region["height"]), int(region["width"]))
            rows, columns = rectangle((top, left), extent=extent, shape=shape_yx)
            pixels = rows.astype(np.intp), columns.astype(np.intp)
        case other:
            raise ValueError(f"{other!r} is no area")
    return pixels
