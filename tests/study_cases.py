"""Drift series whose regions, grey levels and classes are simulated."""

import numpy as np
import pandas as pd

from ncm_kedro.params.crop_augment import CropParams
from ncm_kedro.params.sem_studies import SemStudiesParams
from ncm_kedro.params.tune_train import TrainParams
from ncm_kedro.sem.experiments.fits import StudyContext
from ncm_kedro.sem.experiments.study_crops import StudyFrames

FRAME_PX, STEP_PX, PATCH_PX, FRAMES = 200, 60, 20, 12
CLASSES = {"333": ("333", "pristine"), "811_cycled": ("811", "cycled")}
TINY = TrainParams(
    model="test_resnet", pretrained=False, epochs=1, batch_size=16, input_px=32,
    learning_rate=1e-3, device="cpu", precision="float32", compile="never",
)  # fmt: skip
CROPS = CropParams(size_px=80, images_per_class=20, test_images_per_class=8)


def make_frames(
    *, seed=0, brightness=(100.0, 140.0), noise_std=(20.0, 20.0), frames=FRAMES, patches=False,
    **columns,
):  # fmt: skip
    """A long strip per class, imaged by frames that overlap their neighbours.

    With patches the classes look alike, and every patch has a brightness of its own: what
    is learnt there is worth nothing elsewhere.
    """
    rng = np.random.default_rng(seed)
    pictures, rows = {}, []
    looks = zip(CLASSES.items(), brightness, noise_std, strict=True)
    for (name, (composition, state)), level, std in looks:
        width = FRAME_PX + STEP_PX * (frames - 1)
        noise = rng.normal(0.0, std, (FRAME_PX, width))
        if patches:
            noise += np.repeat(rng.uniform(-70.0, 70.0, -(-width // PATCH_PX)), PATCH_PX)[:width]
        ground = np.clip(level + noise, 0, 255).astype(np.uint8)
        for number in range(frames):
            frame_id, x = f"{name}/{number:02d}", number * STEP_PX
            pictures[frame_id] = np.ascontiguousarray(ground[:, x : x + FRAME_PX])
            row = {"frame_id": frame_id, "class": name, "composition": composition}
            row |= {"state": state, "height_px": FRAME_PX, "width_px": FRAME_PX}
            row |= {"pixel_size_um": 0.25, "session": f"{name}/s01", "mosaic": f"{name}/m01"}
            row |= {"mosaic_x_px": float(x), "mosaic_y_px": 0.0, "excluded": False}
            row |= {"magnification": 500.0, "accelerating_voltage_kv": 20.0, "instrument": "SEM"}
            row |= {key: values[number % len(values)] for key, values in columns.items()}
            rows.append(row)
    return pictures, pd.DataFrame(rows)


def make_context(folder, *, world=None, crops=CROPS, **params):
    """Frames and settings; the network is as small as it gets."""
    settings = {"models": ("texture",), "train": TINY, "n_bootstrap": 200} | params
    ground = StudyFrames(*(world or make_frames()))
    return StudyContext(ground, crops, SemStudiesParams(**settings), folder)
