"""What the network is to predict at each point: probability and distances to the outline.

Definitions of Schmidt et al., "Cell Detection with Star-convex Polygons" (MICCAI 2018): the
probability is the distance to the nearest pixel of another label, divided by its largest value in
the object; the distances run along rays of equal angles until the label changes.

Crops for training, each drawn from the seed and the step alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import cv2
import edt
import numba
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ncm_kedro.params.tomo_train import SectionAugmentParams, TomoTrainParams

_JUMP_MARGIN_PX = 1.42  # two roundings to a pixel centre, each at most half a diagonal


@dataclass(frozen=True)
class LabelledSection:
    """An image and the outlines in it.

    Attributes
    ----------
    image_yx
        Normalised grey values (H, W): 0 and 1 at the low and high percentile.
    labels_yx
        Particle numbers (H, W), 0 for background.
    """

    image_yx: NDArray[np.float32]
    labels_yx: NDArray[np.int32]


class SectionSet(Protocol):
    """Labelled sections by number."""

    def __len__(self) -> int:
        """Count the sections."""

    def load(self, index: int) -> LabelledSection:
        """Load one section."""


@dataclass(frozen=True)
class Targets:
    """What the network is to predict for one image.

    Attributes
    ----------
    prob_yx
        Object probability at the grid points, (H/g, W/g), 0 to 1.
    dist_yxk
        Distance to the outline in px of the input along each ray, (H/g, W/g, n_rays); 0 in the
        background. Ray k points along (sin, cos)(2 pi k / n_rays) in (y, x).
    """

    prob_yx: NDArray[np.float32]
    dist_yxk: NDArray[np.float32]


def compute_targets(labels_yx: NDArray[np.integer], n_rays: int, grid_px: int) -> Targets:
    """Compute the probability and the distances at every grid point.

    Parameters
    ----------
    labels_yx
        Object numbers (H, W), 0 for background.
    grid_px
        Spacing of the grid points, the first at pixel (0, 0).

    Returns
    -------
    Targets
        Arrays of (ceil(H/g), ceil(W/g)) points.
    """
    labels = np.ascontiguousarray(labels_yx, dtype=np.uint32)
    inner = edt.edt(labels, black_border=False, parallel=1)
    inner = np.minimum(inner, np.float32(sum(labels.shape)))  # infinite if one label fills all
    peak = np.asarray(ndimage.maximum(inner, labels, np.arange(int(labels.max()) + 1)))
    prob = np.where(labels > 0, inner / (peak[labels] + 1e-10), 0)[::grid_px, ::grid_px]
    angles = 2 * np.pi * np.arange(n_rays) / n_rays
    sines, cosines = np.sin(angles).astype(np.float32), np.cos(angles).astype(np.float32)
    padded = np.pad(labels, 1)
    jumps = np.floor(edt.edt(padded, parallel=1) - _JUMP_MARGIN_PX).clip(1).astype(np.float32)
    dist = _trace_rays(padded, jumps, sines, cosines, grid_px)
    return Targets(prob.astype(np.float32), dist)


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _trace_rays(
    padded: NDArray[np.uint32],
    jumps: NDArray[np.float32],
    sines: NDArray[np.float32],
    cosines: NDArray[np.float32],
    grid: int,
) -> NDArray[np.float32]:
    """Follow each ray in whole steps of one pixel, jumping where the label surely stays."""
    height, width = padded.shape[0] - 2, padded.shape[1] - 2
    rows, columns = (height + grid - 1) // grid, (width + grid - 1) // grid
    dist = np.zeros((rows, columns, len(sines)), np.float32)
    for i in range(rows):
        for j in range(columns):
            label = padded[i * grid + 1, j * grid + 1]
            if label == 0:
                continue
            start = jumps[i * grid + 1, j * grid + 1]
            y, x = np.float32(i * grid + 1.5), np.float32(j * grid + 1.5)
            for k in range(len(sines)):
                dy, dx = sines[k], cosines[k]
                travelled = start
                while True:
                    at_y, at_x = np.uint32(y + travelled * dy), np.uint32(x + travelled * dx)
                    if padded[at_y, at_x] != label:
                        break
                    travelled += jumps[at_y, at_x]
                overshoot = np.float32(1.0) - np.float32(0.5) / max(abs(dy), abs(dx))
                dist[i, j, k] = travelled - overshoot
    return dist


_CROPS_STREAM = 1  # separates the crops' random numbers from the split's and the weights'


@dataclass(frozen=True)
class Batch:
    """Crops and what the network is to predict on them.

    Attributes
    ----------
    images_nyxc
        Normalised crops (N, P, P, 1).
    prob_nyxc
        Object probability (N, P/g, P/g, 1).
    dist_nyxk
        Distances to the outline in px (N, P/g, P/g, n_rays).
    """

    images_nyxc: NDArray[np.float32]
    prob_nyxc: NDArray[np.float32]
    dist_nyxk: NDArray[np.float32]


@dataclass(frozen=True)
class CropSource:
    """One kind of images and which of them may be used.

    Attributes
    ----------
    chosen
        Numbers of those that crops are drawn from.
    share
        Fraction of the crops that come from here.
    """

    sections: SectionSet
    chosen: NDArray[np.intp]
    share: float


def draw_batch(sources: list[CropSource], params: TomoTrainParams, step: int) -> Batch:
    """Draw the crops of one training step; the same step gives the same crops."""
    rng = np.random.default_rng([params.seed, _CROPS_STREAM, step])
    shares = np.array([source.share for source in sources])
    crops = []
    for kind in rng.choice(len(sources), params.batch_size, p=shares / shares.sum()):
        source = sources[kind]
        section = source.sections.load(int(rng.choice(source.chosen)))
        crops.append(draw_crop(section, rng, params.patch_px, params.augment))
    return stack_batch(crops, params)


def stack_batch(crops: list[LabelledSection], params: TomoTrainParams) -> Batch:
    """Compute the targets of crops of equal size and stack them."""
    shape = params.network
    targets = [compute_targets(crop.labels_yx, shape.n_rays, shape.grid_px) for crop in crops]
    return Batch(
        np.stack([crop.image_yx for crop in crops])[..., None],
        np.stack([target.prob_yx for target in targets])[..., None],
        np.stack([target.dist_yxk for target in targets]),
    )


def draw_crop(
    section: LabelledSection,
    rng: np.random.Generator,
    patch_px: int,
    augment: SectionAugmentParams,
) -> LabelledSection:
    """Cut a random square, rescale, flip, turn and vary its brightness.

    Parameters
    ----------
    section
        Image and labels (H, W); where it is smaller than the square it is enlarged.
    rng
        Where the crop is and what happens to it.
    """
    height, width = section.image_yx.shape
    scale = _draw_factor(rng, augment.scale)
    edge = min(height, width, round(patch_px / scale))
    y, x = (int(rng.integers(0, size - edge + 1)) for size in (height, width))
    crop = cut_square(section, y, x, edge, patch_px)
    turns, mirror = int(rng.integers(4)), bool(rng.integers(2))
    image, labels = np.rot90(crop.image_yx, turns), np.rot90(crop.labels_yx, turns)
    if mirror:
        image, labels = image[:, ::-1], labels[:, ::-1]
    return LabelledSection(vary_brightness(image, rng, augment), np.ascontiguousarray(labels))


def cut_square(
    section: LabelledSection, y: int, x: int, edge: int, patch_px: int
) -> LabelledSection:
    """Cut the square at (y, x) and bring it to a size."""
    region = (slice(y, y + edge), slice(x, x + edge))
    cut = LabelledSection(section.image_yx[region], section.labels_yx[region])
    return cut if edge == patch_px else _resize(cut, (patch_px, patch_px))


def resize_section(section: LabelledSection, scale: float) -> LabelledSection:
    """Enlarge or reduce a section by a factor."""
    height, width = (max(1, round(size * scale)) for size in section.image_yx.shape)
    return _resize(section, (height, width))


def _resize(section: LabelledSection, shape_yx: tuple[int, int]) -> LabelledSection:
    """Resize; grey values are averaged or interpolated, labels picked."""
    size = shape_yx[::-1]
    smooth = cv2.INTER_AREA if shape_yx[0] < section.image_yx.shape[0] else cv2.INTER_LINEAR
    image = cv2.resize(np.ascontiguousarray(section.image_yx), size, interpolation=smooth)
    labels = cv2.resize(
        np.ascontiguousarray(section.labels_yx), size, interpolation=cv2.INTER_NEAREST_EXACT
    )
    return LabelledSection(np.asarray(image, np.float32), np.asarray(labels, np.int32))


def vary_brightness(
    image_yx: NDArray[np.float32], rng: np.random.Generator, augment: SectionAugmentParams
) -> NDArray[np.float32]:
    """Apply a tone curve, contrast, brightness and noise."""
    gamma, gain = _draw_factor(rng, augment.gamma), _draw_factor(rng, augment.gain)
    toned = np.sign(image_yx) * np.abs(image_yx) ** np.float32(gamma)
    varied = (toned - 0.5) * gain + 0.5 + rng.uniform(-augment.offset, augment.offset)
    noise = rng.uniform(0, augment.noise) * rng.standard_normal(image_yx.shape, np.float32)
    return np.ascontiguousarray(varied + noise, dtype=np.float32)


def _draw_factor(rng: np.random.Generator, largest: float) -> float:
    return float(np.exp(rng.uniform(-1, 1) * np.log(largest)))
