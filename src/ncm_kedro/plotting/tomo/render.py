"""A 3D image of labelled particles by casting rays through the labels, without OpenGL.

Rays are parallel. A ray ends at the first voxel of a particle that is neither crack nor in the
corner that is cut away. The surface normal is the direction in which the particle's own label
thins out around that point, so touching particles keep their crease. Light: an ambient part that
fades where the surroundings are full, a diffuse and a weak specular part (Phong, Commun. ACM 18,
311, 1975).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ncm_kedro.plotting.style import colour_labels
from ncm_kedro.plotting.tomo.cuts import LabelSolid

Vectors = NDArray[np.float64]

_STEP = 0.5
_REACH_VX = 2.6
_LIGHT_FROM = (0.75, 0.35, 0.55)
_INNER_COLOUR = np.array([0.50, 0.10, 0.07])


@dataclass(frozen=True)
class Camera:
    """Where the image is taken from.

    Attributes
    ----------
    azimuth_deg
        Rotation around z: 0 looks along +y with x to the right, 90 looks along -x.
    elevation_deg
        Height above the xy plane.
    width_px
        Columns of the image.
    """

    azimuth_deg: float = 35.0
    elevation_deg: float = 28.0
    width_px: int = 760

    @property
    def axes(self) -> tuple[Vectors, Vectors, Vectors]:
        """Unit vectors (z, y, x): direction of view, to the right, upwards."""
        turn, lift = np.deg2rad([self.azimuth_deg, self.elevation_deg])
        flat = np.array([0.0, np.cos(turn), -np.sin(turn)])
        up_z = np.array([1.0, 0.0, 0.0])
        forward = np.cos(lift) * flat - np.sin(lift) * up_z
        right = np.array([0.0, np.sin(turn), np.cos(turn)])
        return forward, right, np.sin(lift) * flat + np.cos(lift) * up_z


@dataclass(frozen=True)
class Frame:
    """How points of the volume are projected onto the image.

    Attributes
    ----------
    camera
        View.
    extent_um
        Edges of the volume along z, y, x.
    corner_um
        Where the image's lower left corner lies along right and up, from the volume's centre.
    pixel_um
        Edge of a pixel.
    width_px, height_px
        Columns and rows.
    """

    camera: Camera
    extent_um: Vectors
    corner_um: tuple[float, float]
    pixel_um: float
    width_px: int
    height_px: int

    @classmethod
    def fit(cls, extent_um: Vectors, camera: Camera) -> Frame:
        """Make the volume's box fill the image, a small margin left.

        Parameters
        ----------
        extent_um
            Edges of the volume along z, y, x.
        """
        _, right, up = camera.axes
        half = np.array([np.abs(axis) @ extent_um for axis in (right, up)]) / 2 * 1.03
        pixel = 2 * half[0] / camera.width_px
        height = max(1, round(2 * half[1] / pixel))
        corner = (-float(half[0]), -float(half[1]))
        return cls(camera, extent_um, corner, float(pixel), camera.width_px, height)

    def project(self, points_um: Vectors) -> Vectors:
        """Return column and row of points.

        Parameters
        ----------
        points_um
            (N, 3), z, y, x from the volume's first corner.
        """
        _, right, up = self.camera.axes
        centred = points_um - self.extent_um / 2
        columns = (centred @ right - self.corner_um[0]) / self.pixel_um - 0.5
        rows = self.height_px - 0.5 - (centred @ up - self.corner_um[1]) / self.pixel_um
        return np.stack([columns, rows], axis=1)


@dataclass(frozen=True)
class _Hits:
    """Ends of rays: flat pixel, position and the position one step before, (N, 3) in voxels."""

    pixel: NDArray[np.int64]
    point_vx: Vectors
    before_vx: Vectors


def render_labels(
    solid: LabelSolid, *, cut: float = 0.5, camera: Camera | None = None
) -> tuple[NDArray[np.float64], Frame]:
    """Render labels as shaded solids on white.

    Parameters
    ----------
    solid
        Labels, cracks and voxel size.
    cut
        Edge of the corner that is taken away (high z, low y, high x), as a fraction of each axis;
        0 takes nothing away.

    Returns
    -------
    picture : ndarray
        (H, W, 4), RGB and opacity in [0, 1].
    frame : Frame
        How points of the volume are projected onto the image.
    """
    extent = np.array(solid.labels_zyx.shape) * solid.voxel_um
    frame = Frame.fit(extent, camera or Camera())
    corner = find_corner(solid.labels_zyx.shape, cut)
    shown = solid.labels_zyx.copy()
    shown[solid.cracks_zyx] = 0
    shown[corner] = 0
    hits = _cast(shown, solid, frame)
    picture = np.zeros((frame.height_px * frame.width_px, 4))
    if len(hits.pixel):
        picture[hits.pixel, :3] = _shade(solid, shown, corner, hits, frame)
        picture[hits.pixel, 3] = 1.0
    return picture.reshape(frame.height_px, frame.width_px, 4), frame


def find_corner(shape_zyx: tuple[int, ...], cut: float) -> tuple[slice, slice, slice]:
    """Return the region of the corner that is cut away: high z, low y, high x.

    Parameters
    ----------
    cut
        Fraction of each axis.
    """
    depth, height, width = shape_zyx
    return (
        slice(depth - round(depth * cut), depth),
        slice(0, round(height * cut)),
        slice(width - round(width * cut), width),
    )


def _cast(shown: NDArray[np.uint32], solid: LabelSolid, frame: Frame) -> _Hits:
    """March all rays at once; a ray leaves the set when it hits or comes out behind."""
    spacing = np.array(solid.voxel_um)
    origins, forward = _start_rays(frame)
    near, far = _clip_rays(origins, forward, frame.extent_um)
    pixel = np.flatnonzero(near < far)
    step = _STEP * float(spacing.min())
    start = (origins[pixel] + near[pixel, None] * forward) / spacing
    stride = forward * step / spacing
    left = np.ceil((far[pixel] - near[pixel]) / step).astype(np.int64)
    found_pixel, found_point = [], []
    position, last = start + 0.5 * stride, np.array(shown.shape) - 1
    while len(pixel):
        z, y, x = np.clip(position.astype(np.int64), 0, last).T
        hit = shown[z, y, x] > 0
        found_pixel.append(pixel[hit])
        found_point.append(position[hit])
        left -= 1
        going = ~hit & (left > 0)
        pixel, left, position = pixel[going], left[going], position[going] + stride
    if not found_pixel:
        return _Hits(np.zeros(0, np.int64), np.zeros((0, 3)), np.zeros((0, 3)))
    point = _bisect(shown, np.concatenate(found_point), stride)
    return _Hits(np.concatenate(found_pixel), point, point - 0.75 * stride)


def _start_rays(frame: Frame) -> tuple[Vectors, Vectors]:
    forward, right, up = frame.camera.axes
    along = frame.corner_um[0] + (np.arange(frame.width_px) + 0.5) * frame.pixel_um
    above = frame.corner_um[1] + (np.arange(frame.height_px)[::-1] + 0.5) * frame.pixel_um
    grid = above[:, None, None] * up + along[None, :, None] * right
    return grid.reshape(-1, 3) + frame.extent_um / 2, forward


def _clip_rays(origins: Vectors, forward: Vectors, extent_um: Vectors) -> tuple[Vectors, Vectors]:
    """Return where rays enter and leave the volume's box, as lengths along them."""
    safe = np.where(np.abs(forward) < 1e-9, 1e-9, forward)
    first, second = (0.0 - origins) / safe, (extent_um - origins) / safe
    near: Vectors = np.minimum(first, second).max(axis=1)
    far: Vectors = np.maximum(first, second).min(axis=1)
    return near, far


def _bisect(shown: NDArray[np.uint32], point: Vectors, stride: Vectors) -> Vectors:
    """Move points back to where their ray entered the voxel."""
    outside, inside = point - stride, point
    last = np.array(shown.shape) - 1
    for _ in range(4):
        middle = (outside + inside) / 2
        z, y, x = np.clip(np.floor(middle).astype(np.int64), 0, last).T
        hit = (shown[z, y, x] > 0)[:, None]
        outside, inside = np.where(hit, outside, middle), np.where(hit, middle, inside)
    return inside


def _shade(
    solid: LabelSolid,
    shown: NDArray[np.uint32],
    corner: tuple[slice, slice, slice],
    hits: _Hits,
    frame: Frame,
) -> Vectors:
    """Return the colour of each hit, (N, 3)."""
    last = np.array(shown.shape) - 1
    z, y, x = np.clip(hits.point_vx.astype(np.int64), 0, last).T
    label = shown[z, y, x]
    normal = _estimate_normals(shown, label, hits.point_vx, np.array(solid.voxel_um))
    on_cut = _close_cut_faces(normal, hits, corner, np.array(solid.voxel_um))
    forward, right, up = frame.camera.axes
    light = _LIGHT_FROM[0] * up + _LIGHT_FROM[1] * right - _LIGHT_FROM[2] * forward
    light = light / np.linalg.norm(light)
    colour = 0.86 * colour_labels(label) + 0.08
    bz, by, bx = np.clip(hits.before_vx.astype(np.int64), 0, last).T
    inner = solid.cracks_zyx[bz, by, bx]
    colour[on_cut] = 0.72 * colour[on_cut] + 0.28
    colour[inner] = _INNER_COLOUR
    full = ndimage.gaussian_filter((shown > 0).astype(np.float32), 3.0, mode="constant")
    oz, oy, ox = np.clip((hits.point_vx + 3.0 * normal).astype(np.int64), 0, last).T
    ambient = np.clip(1.15 - 0.85 * full[oz, oy, ox], 0.25, 1.0)
    diffuse = np.clip(normal @ light, 0.0, 1.0)
    half = light - forward
    shine = np.clip(normal @ (half / np.linalg.norm(half)), 0.0, 1.0) ** 40
    lit = ambient * (0.42 + 0.62 * diffuse)
    lit[on_cut] = 0.55 + 0.45 * lit[on_cut]
    shine[on_cut | inner] = 0.0
    shaded: Vectors = np.clip(colour * lit[:, None] + 0.22 * shine[:, None], 0.0, 1.0)
    return shaded


def _estimate_normals(
    shown: NDArray[np.uint32], label: NDArray[np.uint32], point_vx: Vectors, spacing: Vectors
) -> Vectors:
    """Return unit vectors (z, y, x), in um, out of the particle that each point lies on."""
    padded = np.pad(shown, 4)
    base = np.floor(point_vx).astype(np.int64)
    fraction = point_vx - base - 0.5
    flat = np.ravel_multi_index(tuple((base + 4).T), padded.shape, mode="clip")
    values = padded.reshape(-1)
    strides = np.array([padded.shape[1] * padded.shape[2], padded.shape[2], 1])
    normal = np.zeros_like(point_vx)
    reach = int(np.ceil(_REACH_VX))
    offsets = np.stack(np.meshgrid(*[np.arange(-reach, reach + 1)] * 3, indexing="ij"), axis=-1)
    for offset in offsets.reshape(-1, 3):
        arm = offset - fraction
        weight = np.clip(1.0 - (arm**2).sum(axis=1) / _REACH_VX**2, 0.0, None)
        weight *= values[flat + int(offset @ strides)] == label
        normal -= weight[:, None] * arm
    normal /= spacing
    length = np.linalg.norm(normal, axis=1, keepdims=True)
    unit: Vectors = normal / np.maximum(length, 1e-9)
    return unit


def _close_cut_faces(
    normal: Vectors, hits: _Hits, corner: tuple[slice, slice, slice], spacing: Vectors
) -> NDArray[np.bool_]:
    """Give hits on the cut faces the face's normal; return which they are."""
    start = np.array([part.start for part in corner], dtype=np.float64)
    stop = np.array([part.stop for part in corner], dtype=np.float64)
    inside = ((hits.before_vx >= start) & (hits.before_vx <= stop)).all(axis=1)
    # The corner's faces towards the particles: low z, high y, low x.
    gap = np.abs(hits.point_vx - np.array([start[0], stop[1], start[2]])) * spacing
    axis = gap.argmin(axis=1)
    on_cut: NDArray[np.bool_] = inside & (gap.min(axis=1) < 1.5 * spacing.max())
    faces = np.diag([1.0, -1.0, 1.0])
    normal[on_cut] = faces[axis[on_cut]]
    return on_cut
