"""Small crop sets with a ground truth, and an untrained classifier."""

import numpy as np
import pandas as pd
import pytest

from manifest_cases import list_frame
from ncm_kedro.learning.models.classifier import ClassifierSettings, SemClassifier
from ncm_kedro.learning.models.predict import export_weights
from ncm_kedro.learning.training.fitting import build_network_for
from ncm_kedro.params.tune_train import TrainParams
from ncm_kedro.sem.crops.crop_set import REGION_COLUMNS, SPLITS, build_crop_set

FRAME_PX = 200
CROP_PX = 72
TILE_PX = 64


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
            for crop in range(12):
                x, y = (int(v) for v in rng.integers(0, FRAME_PX - CROP_PX, 2))
                region = dict(zip(REGION_COLUMNS, (0, 0, FRAME_PX, FRAME_PX), strict=True))
                names = {"crop_id": f"{frame_id}@{crop}", "frame_id": frame_id, "class": class_name}
                place = {"x_px": x, "y_px": y, "size_px": CROP_PX, "split": split}
                crops.append({**names, **place, "mosaic": frame_id, "area": frame_id, **region})
    return frames, pd.DataFrame(manifest), pd.DataFrame(crops)


@pytest.fixture
def crop_set(tables):
    frames, manifest, crops = tables
    return build_crop_set(frames, crops, manifest)


@pytest.fixture(scope="session")
def classifier():
    """A classifier of two classes with random weights."""
    network = build_network_for(
        TrainParams(model="test_resnet", pretrained=False, seed=3), n_classes=2
    )
    settings = ClassifierSettings(
        model="test_resnet",
        classes=("811", "811_cycled"),
        compositions=("811", "811"),
        states=("pristine", "cycled"),
        crop_px=TILE_PX,
        pixel_size_um=0.25,
        input_px=32,
    )
    return SemClassifier(settings, export_weights(network))
