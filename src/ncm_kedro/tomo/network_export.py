"""Exporting a network to ONNX, with proof that it computes the same."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ncm_kedro.errors import ModelError
from ncm_kedro.tomo.detector_runtimes import compile_network
from ncm_kedro.tomo.network import load_network, predict_network
from ncm_kedro.tomo.network_files import ONNX_FILE, read_shape, read_weights
from ncm_kedro.tomo.network_onnx import build_onnx
from ncm_kedro.whole_files import write_model_file

_PROBE_SEED = 7
_PROBE_TILES = (6, 7)  # height and width in units of what the network takes
_MAX_PROB_ERROR = 1e-4
_MAX_DIST_ERROR_PX = 1e-2


@dataclass(frozen=True)
class Parity:
    """Largest differences between the exported network and Keras on random sections.

    Attributes
    ----------
    prob
        Of the probability.
    dist_px
        Of the distances (px).
    """

    prob: float
    dist_px: float


def export_network(folder: Path, *, model: Any | None = None) -> Parity:
    """Write ``detector.onnx`` into a StarDist2D folder and compare it with Keras in float32.

    Parameters
    ----------
    folder
        With ``config.json`` and weights, of this product or as published.
    model
        The same network in Keras, where it is at hand; loaded from the folder if None.

    Returns
    -------
    Parity
        Largest differences found.

    Raises
    ------
    ModelError
        If the folder cannot be read or written to, or the two disagree.
    """
    shape = read_shape(folder)
    weights = read_weights(folder, shape)
    content = build_onnx(shape, weights)
    height, width = (tiles * shape.multiple_px for tiles in _PROBE_TILES)
    rng = np.random.default_rng(_PROBE_SEED)
    probe = rng.random((2, height, width), dtype=np.float32)
    keras_prob, keras_dist = predict_network(model or load_network(folder), probe)
    forward = compile_network(shape, weights, "onnxruntime", "f32", None)
    prob, dist = forward(probe[:, None])
    parity = Parity(
        float(np.abs(prob[:, 0] - keras_prob).max()), float(np.abs(dist - keras_dist).max())
    )
    if not (parity.prob <= _MAX_PROB_ERROR and parity.dist_px <= _MAX_DIST_ERROR_PX):
        raise ModelError(
            folder,
            found=f"an export that differs from Keras by {parity.prob:.2g} in probability and "
            f"{parity.dist_px:.2g} px in distance",
            expected=f"at most {_MAX_PROB_ERROR:g} and {_MAX_DIST_ERROR_PX:g} px",
            action="check that config.json belongs to the weights",
        )
    write_model_file(folder / ONNX_FILE, content)
    return parity
