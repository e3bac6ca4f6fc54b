"""Crops whose compositions, states and sessions are simulated, in a world that transfers or not."""

import numpy as np
import pandas as pd

from manifest_cases import list_crop, list_frame
from ncm_kedro.params.sem_studies import SemTransferParams
from ncm_kedro.sem.crops.crop_set import build_crop_set
from ncm_kedro.sem.experiments.hold_outs import list_crops
from ncm_kedro.sem.experiments.transfer import TransferContext, report_transfer, run_hold_outs

CROP_PX = 68
COMPOSITIONS, STATES = ("333", "811"), ("pristine", "cycled")
AREAS = {"train": 4, "validate": 2, "test": 4}
CROPS_PER_AREA = 2


def draw_crop_frame(rng, composition, state, *, other_sign=None):
    """Grains with a composition's size, and a state's fraction of dark pits.

    With another sign of composition, here the bright spots, grains of either size take turns.
    """
    grain = {"333": 1, "811": 4}[composition] if other_sign is None else (1, 4)[other_sign % 2]
    side = 2 * CROP_PX
    cells = rng.integers(60, 190, (side // grain, side // grain))
    grey = 120.0 + rng.uniform(0.9, 1.0) * (np.kron(cells, np.ones((grain, grain))) - 125.0)
    pits = rng.uniform(0.0, 0.01) if state == "pristine" else rng.uniform(0.08, 0.12)
    grey[rng.random(grey.shape) < pits] = 0.0
    if other_sign is not None and composition == "811":
        grey[rng.random(grey.shape) < 0.06] = 255.0
    return np.clip(grey + rng.uniform(-5, 5), 0, 255).astype(np.uint8)


def make_world(*, specific=False, sessions=1, seed=0, compositions=COMPOSITIONS):
    """Frames, manifest and crop table; a frame is an area, frames take turns in sessions."""
    rng = np.random.default_rng(seed)
    frames, manifest, crops = {}, [], []
    for composition in compositions:
        for state in STATES:
            name = composition if state == "pristine" else f"{composition}_{state}"
            count = 0
            for split, n_areas in AREAS.items():
                for _ in range(n_areas):
                    frame_id = f"{name}/{count}"
                    sign = count if specific and state == "cycled" else None
                    frame = draw_crop_frame(rng, composition, state, other_sign=sign)
                    frames[frame_id] = frame
                    session = f"{name}/s{1 + count % sessions:02d}"
                    manifest.append(list_frame(name, count, pixel_size_um=0.25, session=session))
                    crops += [
                        list_crop(
                            frame_id, crop, (crop * CROP_PX,) * 2, size_px=CROP_PX, split=split,
                            frame_px=frame.shape[0],
                        )
                        for crop in range(CROPS_PER_AREA)
                    ]  # fmt: skip
                    count += 1
    return frames, pd.DataFrame(manifest), pd.DataFrame(crops)


def make_context(folder, *, params=None, world=None):
    """The study's crops and settings."""
    frames, manifest, crops = world or make_world()
    crop_set = build_crop_set(frames, crops, manifest)
    params = params or SemTransferParams(n_bootstrap=200)
    return TransferContext(crop_set, list_crops(crop_set, manifest), params, folder)


def run_transfer_study(work, *, leaking):
    """Hold out everything that the settings name, kind by kind."""
    parts = [run_hold_outs(work, kind) for kind in work.params.kinds]
    return report_transfer(parts, work.params, leaking=leaking)
