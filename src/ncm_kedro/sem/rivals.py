"""What a new classifier is measured against on the same test crops."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ncm_kedro.errors import ModelError
from ncm_kedro.learning.classifier import SemClassifier, build_network, classify_crops
from ncm_kedro.learning.crop_index import CropIndex
from ncm_kedro.learning.frame_bank import FrameBank
from ncm_kedro.learning.promotion import score_names
from ncm_kedro.learning.texture import fit_texture_baseline, texture_features
from ncm_kedro.sem.crop_set import CropSet

_CROPS_AT_ONCE = 256


def predict_by_texture(crop_set: CropSet, seed: int) -> NDArray[np.float64]:
    """Fit texture features with logistic regression and predict the test split.

    Parameters
    ----------
    crop_set
        Frames and crops; the validation split chooses the regularisation.
    seed
        Seed of the fit.

    Returns
    -------
    ndarray, (N, K)
        Class probabilities of the test crops.
    """
    features = {split: measure_textures(crop_set, split) for split in crop_set.indices}
    labels = {split: index.label for split, index in crop_set.indices.items()}
    baseline = fit_texture_baseline(
        features["train"],
        labels["train"],
        seed,
        validation=(features["validate"], labels["validate"]),
    )
    return np.asarray(baseline.predict_proba(features["test"]), dtype=np.float64)


def measure_textures(crop_set: CropSet, split: str) -> NDArray[np.float32]:
    """Measure the texture of all crops of a split, a few at a time; (N, F)."""
    parts = [texture_features(pixels) for pixels in _cut_in_parts(crop_set, split)]
    return np.concatenate(parts)


def score_on_test(crop_set: CropSet, rival: SemClassifier, *, device: str) -> float:
    """Return the balanced accuracy of another classifier on the test crops, by class name.

    The rival sees crops of its own physical size around the same centres.

    Parameters
    ----------
    crop_set
        Frames and crops of the new classifier.
    rival
        A classifier that may know other classes, crop and pixel sizes.
    device
        Where it runs.

    Raises
    ------
    ModelError
        The frames are smaller than one of the rival's crops.
    """
    settings = rival.settings
    size_px = round(settings.crop_px * settings.pixel_size_um / crop_set.pixel_size_um)
    index = centre_crops(crop_set.indices["test"], crop_set.bank, size_px)
    probabilities = classify_crops(rival, build_network(rival), crop_set.bank, index, device=device)
    predicted = np.array(settings.classes)[probabilities.argmax(axis=1)]
    return score_names(crop_set.tables["test"]["class"].tolist(), predicted.tolist())


def centre_crops(index: CropIndex, bank: FrameBank, size_px: int) -> CropIndex:
    """Give crops another size around their centres, pushed inside their frames.

    Raises
    ------
    ModelError
        A frame is smaller than a crop of that size.
    """
    if size_px > min(bank.widths[index.frame].min(), bank.heights[index.frame].min()):
        raise ModelError(
            "production model",
            found=f"crops of {size_px} px at the pixel size of these frames",
            expected="crops that fit into the frames",
            action="compare by hand, and move the alias `production` in MLflow",
        )
    corners = []
    for corner, extent in ((index.x_px, bank.widths), (index.y_px, bank.heights)):
        moved = corner + (index.size_px - size_px) // 2
        corners.append(np.clip(moved, 0, extent[index.frame] - size_px))
    sizes = np.full(len(index), size_px, dtype=np.int64)
    return replace(index, x_px=corners[0], y_px=corners[1], size_px=sizes, allowed_xyxy_px=None)


def _cut_in_parts(crop_set: CropSet, split: str) -> Iterator[NDArray[np.uint8]]:
    for start in range(0, len(crop_set.indices[split]), _CROPS_AT_ONCE):
        yield crop_set.cut_pixels(split, slice(start, start + _CROPS_AT_ONCE))
