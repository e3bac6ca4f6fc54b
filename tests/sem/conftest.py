"""Small crop sets with a ground truth, and an untrained classifier."""

import numpy as np
import pandas as pd
import pytest

from manifest_cases import list_crop, list_frame
from model_cases import make_classifier
from ncm_kedro.sem.crops.crop_set import SPLITS, build_crop_set

FRAME_PX = 200
CROP_PX = 72


def draw_frame(rng: np.random.Generator, coarse: bool) -> np.ndarray:
    """A frame of fine noise, or of noise in 4-px grains."""
    step = 4 if coarse else 1
    small = rng.integers(40, 216, (FRAME_PX // step, FRAME_PX // step))
    return np.kron(small, np.ones((step, step))).astype(np.uint8)


@pytest.fixture
def tables():
    """Frames by identity, manifest and crop table of two classes that differ in grain."""
    rng = np.random.default_rng(0)
    frames, manifest, crops = {}, [], []
    for class_name, state in (("811", "pristine"), ("811_cycled", "cycled")):
        for number, split in enumerate(SPLITS):
            frame_id = f"{class_name}/{number}"
            frames[frame_id] = draw_frame(rng, coarse=state == "cycled")
            manifest.append(list_frame(
                class_name, number, height_px=FRAME_PX, width_px=FRAME_PX, pixel_size_um=0.25,
                mosaic=frame_id,
            ))  # fmt: skip
            crops += [
                list_crop(
                    frame_id, crop, rng.integers(0, FRAME_PX - CROP_PX, 2),
                    size_px=CROP_PX, split=split, frame_px=FRAME_PX,
                )
                for crop in range(12)
            ]  # fmt: skip
    return frames, pd.DataFrame(manifest), pd.DataFrame(crops)


@pytest.fixture
def crop_set(tables):
    frames, manifest, crops = tables
    return build_crop_set(frames, crops, manifest)


@pytest.fixture(scope="session")
def classifier():
    return make_classifier(seed=3)
