"""The particle detector as the rest of the product uses it: forward passes without TensorFlow."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ncm_kedro.errors import SettingsError
from ncm_kedro.tomo.detector.files import (
    NetworkShape,
    fingerprint_folder,
    read_shape,
    read_summary,
    read_thresholds,
    read_weights,
)

if TYPE_CHECKING:
    from ncm_kedro.tomo.detector.runtimes import (
        Forward,
        Precision,
        ResolvedPrecision,
        ResolvedRuntime,
        Runtime,
    )

STARTER_FOLDER = Path(__file__).parent / "starter"
"""The detector that ships with the package, trained on phantoms alone."""

TRAINING_DIAMETERS_PX = (18.0, 120.0)
"""Smallest and largest diameters of particles in training sections, which a network learns."""

_PARTICLE_PX = 48.0  # of models without a record of their training
_BATCH_MPX = 1.0  # more at once gains no speed and takes 0.4 GB a megapixel
_MEGA = 1e6


@dataclass(frozen=True)
class SectionPrediction:
    """The network's predictions for sections.

    Attributes
    ----------
    prob_nyx
        Probability of being well inside a particle, (N, ceil(H/g), ceil(W/g)), 0 to 1; grid
        point (i, j) sits at pixel (g i, g j).
    dist_nkyx
        Distance to the particle's outline along ray k, (N, n_rays, ceil(H/g), ceil(W/g)), in px
        of the input; ray k points along (sin, cos)(2 pi k / n_rays) in (y, x).
    """

    prob_nyx: NDArray[np.float32]
    dist_nkyx: NDArray[np.float32]


class Detector:
    """A network, compiled when it is first used in a process; it pickles and is thread-safe.

    Parameters
    ----------
    folder
        StarDist2D folder that it was loaded from.
    threads
        Threads that one forward pass uses; None for all cores.

    Attributes
    ----------
    version
        Number in the registry, for one that was loaded from there.
    """

    version: str | None = None

    def __init__(
        self,
        folder: Path,
        *,
        runtime: ResolvedRuntime,
        precision: ResolvedPrecision,
        threads: int | None,
    ) -> None:
        self.folder = folder
        self.runtime = runtime
        self.precision = precision
        self._threads = threads
        self.shape: NetworkShape = read_shape(folder)
        self.prob_threshold, self.nms_threshold = read_thresholds(folder)
        self.particle_px = float(read_summary(folder).get("particle_px", _PARTICLE_PX))
        self.fingerprint = fingerprint_folder(folder)
        read_weights(folder, self.shape)
        self._lock = threading.Lock()
        self._forward: Forward | None = None

    @property
    def grid(self) -> int:
        """Input pixels per predicted point."""
        return self.shape.grid_px

    @property
    def n_rays(self) -> int:
        """Directions in which the distance to the outline is predicted."""
        return self.shape.n_rays

    @property
    def receptive_px(self) -> int:
        """How far a prediction can look (px of the input)."""
        return measure_receptive_px(self.shape)

    def predict(self, sections_nyx: NDArray[np.float32]) -> SectionPrediction:
        """Predict probability and distances.

        Parameters
        ----------
        sections_nyx
            Sections (N, H, W), normalised as in training; of any size: they are reflected at
            the lower and right edge up to a multiple that the network takes.

        Returns
        -------
        SectionPrediction
            On the network's grid.

        Raises
        ------
        SettingsError
            If the array is not (N, H, W) or empty.
        ModelError
            If the network cannot be compiled.
        """
        sections = np.asarray(sections_nyx, dtype=np.float32)
        if sections.ndim != 3 or sections.size == 0:
            raise SettingsError(
                "sections for the particle detector",
                found=f"an array of shape {sections.shape}",
                expected="sections (N, H, W), at least one pixel",
                action="pass a stack of sections",
            )
        count, height, width = sections.shape
        rows, columns = -(-height // self.grid), -(-width // self.grid)
        multiple = self.shape.multiple_px
        padded = np.pad(
            sections, ((0, 0), (0, -height % multiple), (0, -width % multiple)), mode="reflect"
        )
        forward = self._compile()
        prob = np.empty((count, rows, columns), np.float32)
        dist = np.empty((count, self.n_rays, rows, columns), np.float32)
        batch = max(1, int(_BATCH_MPX * _MEGA / padded[0].size))
        for first in range(0, count, batch):
            chosen = slice(first, first + batch)
            found_prob, found_dist = forward(padded[chosen, None])
            prob[chosen] = found_prob[:, 0, :rows, :columns]
            dist[chosen] = found_dist[:, :, :rows, :columns]
        return SectionPrediction(prob, dist)

    def _compile(self) -> Forward:
        from ncm_kedro.tomo.detector.runtimes import compile_network

        with self._lock:
            if self._forward is None:
                weights = read_weights(self.folder, self.shape)
                self._forward = compile_network(
                    self.shape, weights, self.runtime, self.precision, self._threads
                )
            return self._forward

    def __getstate__(self) -> dict[str, Any]:
        """Leave out what belongs to a process."""
        return {k: v for k, v in vars(self).items() if k not in {"_lock", "_forward"}}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, _lock=threading.Lock(), _forward=None)


def load_detector(
    folder: Path = STARTER_FOLDER,
    *,
    runtime: Runtime = "auto",
    precision: Precision = "auto",
    threads: int | None = None,
    n_rays: int | None = None,
) -> Detector:
    """Load a detector from its folder.

    Parameters
    ----------
    folder
        Folder of this product or as StarDist2D models are published; the starter model if none
        is named.
    runtime
        What computes; auto: onnxruntime or torch on a CUDA device, else OpenVINO.
    precision
        Arithmetic; auto: bfloat16 where the device multiplies it in hardware, else float32.
    threads
        Threads that one forward pass uses; None for all cores.
    n_rays
        Number of rays that the model must have; None for any.

    Returns
    -------
    Detector
        Compiled when it is first used.

    Raises
    ------
    ModelError
        If a file is missing, damaged, or of a network that is not supported.
    SettingsError
        If the machine lacks the runtime or the requested precision.
    """
    from ncm_kedro.tomo.detector.runtimes import resolve_precision, resolve_runtime

    read_shape(folder, n_rays=n_rays)
    resolved = resolve_runtime(runtime)
    return Detector(
        folder,
        runtime=resolved,
        precision=resolve_precision(precision, resolved),
        threads=threads,
    )


def measure_receptive_px(shape: NetworkShape) -> int:
    """Return how many pixels to each side a prediction can depend on.

    The interval that a grid point depends on is followed back through the deepest path of the
    U-Net, which holds all others, for every position of the point on the coarsest grid.
    """
    widening = shape.convolutions * (shape.kernel_px // 2)
    reach = 0
    for point in range(2**shape.depth):
        low = point - (shape.kernel_px // 2 if shape.features else 0)
        high = point + (shape.kernel_px // 2 if shape.features else 0)
        for _ in range(shape.depth):
            low, high = (low - widening) // 2, (high + widening) // 2
        low, high = low - widening, high + widening
        for _ in range(shape.depth + shape.grid_px.bit_length() - 1):
            low, high = 2 * low - widening, 2 * high + 1 + widening
        centre = point * shape.grid_px
        reach = max(reach, centre - low, high - centre)
    return reach


def describe_detector(detector: Detector) -> dict[str, Any]:
    """Describe a detector for a report.

    Returns
    -------
    dict
        ``name, fingerprint, runtime, precision, n_rays, particle_px, diameter_range_px`` and, where
        it is known, ``phantoms_only``.
    """
    facts: dict[str, Any] = {
        "name": "starter model of the package"
        if detector.folder == STARTER_FOLDER
        else detector.folder.name,
        "fingerprint": detector.fingerprint,
        "runtime": detector.runtime,
        "precision": detector.precision,
        "n_rays": detector.n_rays,
        "particle_px": detector.particle_px,
        "diameter_range_px": list(TRAINING_DIAMETERS_PX),
    }
    trained_on = read_summary(detector.folder).get("trained_on")
    if trained_on is not None:
        facts["phantoms_only"] = not trained_on["pairs"]
    return facts
