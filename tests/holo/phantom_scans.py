"""A small phantom scan, held in memory."""

import numpy as np
import zarr

from ncm_kedro.holo.scan import DistanceScan, RawScan, describe_cone
from ncm_kedro.params.holo import HoloPhantomParams
from ncm_kedro.synthetic.holo import FRAMES_OF_FLAT, iter_frames, make_darks, make_flats
from ncm_kedro.tomo.volumes.volume import VolumeTarget

SMALL = HoloPhantomParams(
    size_px=96, angles=90, detector_pixel_um=9.0, diameter_um=(5, 11), seed=2, photons=3000
)


def make_scan(params, centre_px=None):
    """Darks, flats, projections, flats of every distance, as one series of frames each."""
    angles, projections = zip(*iter_frames(params), strict=True)
    distances = []
    for k in range(len(params.focus_sample_mm)):
        parts = [
            make_darks(params),
            make_flats(params, k, 0),
            np.stack([one[k] for one in projections]),
            make_flats(params, k, params.angles),
        ]
        series = np.concatenate(parts)
        first = 2 * FRAMES_OF_FLAT
        last = first + params.angles
        distances.append(
            DistanceScan(
                source=f"distance {k}",
                read=series.__getitem__,
                frames=np.arange(first, last),
                flat_frames=np.r_[FRAMES_OF_FLAT:first, last : len(series)],
                dark_frames=np.arange(FRAMES_OF_FLAT),
            )
        )
    return RawScan(
        name="pillar",
        source="memory",
        shape_ayx=(params.angles, params.size_px, params.size_px),
        angles_deg=np.array(angles),
        distances=tuple(distances),
        geometry=describe_cone(
            params.energy_kev,
            params.focus_sample_mm,
            params.focus_detector_mm,
            params.detector_pixel_um,
        ),
        fingerprint="known",
        centre_px=centre_px,
    )


def open_target(folder, plan, edge=32):
    """An array to reconstruct into, and an empty folder for scratch."""
    array = zarr.create_array(
        folder / "0", shape=plan.shape_zyx, dtype=plan.dtype, chunks=(edge,) * 3,
        shards=(edge,) * 3,
    )  # fmt: skip
    (folder / "work").mkdir()
    return VolumeTarget(array, {}, folder / "work")
