"""Small networks and simple sections that the tests of the detector share."""

from __future__ import annotations

import json
import os

import numpy as np
from skimage.draw import disk

from ncm_kedro.params.tomo_train import NetworkParams
from ncm_kedro.tomo.detector.network import build_network, draw_weights, save_network

os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")

SMALL = NetworkParams(n_rays=8, unet_depth=1, filters=4, features=8)


def write_network(folder, params=SMALL, seed=0):
    """Write an untrained network as a StarDist2D folder; return its Keras model."""
    model = build_network(params)
    draw_weights(model, np.random.default_rng(seed))
    save_network(model, folder)
    (folder / "thresholds.json").write_text(json.dumps({"prob": 0.45, "nms": 0.25}))
    return model


def draw_particles(shape=(200, 300), radii=(12, 16, 20, 24), seed=0, contrast=90, noise=8):
    """Draw bright discs that do not touch; return grey values and labels."""
    rng = np.random.default_rng(seed)
    labels = np.zeros(shape, np.int32)
    number = 0
    for _ in range(400):
        radius = rng.choice(radii)
        y, x = (rng.uniform(radius + 3, size - radius - 3) for size in shape)
        if labels[disk((y, x), radius + 4, shape=shape)].any():
            continue
        number += 1
        labels[disk((y, x), radius, shape=shape)] = number
    grey = 70 + contrast * (labels > 0) + rng.normal(0, noise, shape)
    return grey.astype(np.float32), labels
