"""The star-convex network in Keras: built, loaded, trained arithmetic chosen.

StarDist2D of Schmidt et al. (MICCAI 2018) in the shape that Li et al. (2022) used. TensorFlow is
imported only here and only when a function is called; inference does without it.

Exporting a network to ONNX, with proof that it computes the same.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ncm_kedro.atomic_write import write_model_file
from ncm_kedro.errors import ModelError
from ncm_kedro.params.tomo_train import NetworkParams
from ncm_kedro.tomo.detector.files import (
    ONNX_FILE,
    WEIGHTS_FILE,
    find_weights,
    read_shape,
    read_weights,
)
from ncm_kedro.tomo.detector.runtimes import build_onnx, compile_network

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")


def build_network(params: NetworkParams, *, half_precision: bool = False) -> Any:
    """Build an untrained StarDist2D, its ``keras_model`` with float32 outputs.

    Parameters
    ----------
    half_precision
        Whether it computes in bfloat16; its weights are float32 all the same.

    Returns
    -------
    stardist.models.StarDist2D
        Without a folder.
    """
    keras, models = import_stardist()
    config = models.Config2D(
        n_rays=params.n_rays,
        grid=(params.grid_px, params.grid_px),
        n_channel_in=1,
        unet_n_depth=params.unet_depth,
        unet_n_filter_base=params.filters,
        net_conv_after_unet=params.features,
        train_dist_loss="mae",
        train_loss_weights=(1, 0.2),
        train_tensorboard=False,
    )
    policy = keras.mixed_precision.dtype_policy()
    keras.mixed_precision.set_global_policy("mixed_bfloat16" if half_precision else "float32")
    try:
        with contextlib.redirect_stdout(None):  # it prints its default thresholds
            model = models.StarDist2D(config, name="particle-detector", basedir=None)
    finally:
        keras.mixed_precision.set_global_policy(policy)
    return model


def with_float_outputs(model: Any) -> Any:
    """Return a Keras model of the same weights whose outputs are float32."""
    keras, _ = import_stardist()
    network = model.keras_model
    outputs = [keras.layers.Activation("linear", dtype="float32")(out) for out in network.outputs]
    return keras.Model(network.inputs, outputs)


def draw_weights(model: Any, rng: np.random.Generator) -> None:
    """Set Glorot-uniform kernels and zero biases from a generator (Glorot & Bengio 2010)."""
    drawn = []
    for weight in model.keras_model.get_weights():
        if weight.ndim == 1:
            drawn.append(np.zeros_like(weight))
            continue
        receptive = int(np.prod(weight.shape[:-2]))
        limit = np.sqrt(6 / (receptive * (weight.shape[-2] + weight.shape[-1])))
        drawn.append(rng.uniform(-limit, limit, weight.shape).astype(np.float32))
    model.keras_model.set_weights(drawn)


def load_network(folder: Path, *, n_rays: int | None = None) -> Any:
    """Load a StarDist2D folder, as published or as trained here, into Keras.

    Parameters
    ----------
    folder
        With ``config.json``, ``thresholds.json`` and ``weights_*.h5``.
    n_rays
        Number of rays that it must have; None for any.

    Raises
    ------
    ModelError
        If a file is missing, damaged or of another network.
    """
    shape = read_shape(folder, n_rays=n_rays)
    read_weights(folder, shape)
    _, models = import_stardist()
    config = models.Config2D(
        **{
            "n_rays": shape.n_rays,
            "grid": (shape.grid_px, shape.grid_px),
            "n_channel_in": 1,
            "unet_n_depth": shape.depth,
            "unet_n_filter_base": shape.filters,
            "unet_n_conv_per_depth": shape.convolutions,
            "unet_expansion": shape.expansion,
            "unet_kernel_size": (shape.kernel_px, shape.kernel_px),
            "net_conv_after_unet": shape.features,
            "train_tensorboard": False,
        }
    )
    with contextlib.redirect_stdout(None):  # it prints its default thresholds
        model = models.StarDist2D(config, name=folder.name, basedir=None)
    model.keras_model.load_weights(str(find_weights(folder)))
    return model


def save_network(model: Any, folder: Path) -> None:
    """Write ``config.json`` and ``weights_best.h5`` in StarDist's layout.

    Raises
    ------
    ModelError
        If the folder cannot be written to.
    """
    from csbdeep.utils import save_json

    try:
        folder.mkdir(parents=True, exist_ok=True)
        save_json(vars(model.config), str(folder / "config.json"))
        partial = folder / f"partial-{WEIGHTS_FILE}"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # Keras copies the numpy 1 way
            model.keras_model.save_weights(str(partial), overwrite=True)
        partial.replace(folder / WEIGHTS_FILE)
    except OSError as error:
        raise ModelError(
            folder,
            found=f"a folder that cannot be written to ({error})",
            expected="a writable folder with 10 MB of room",
            action="free disk space or choose another folder",
        ) from error


def predict_network(
    model: Any, sections_nyx: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Predict with Keras in float32: the reference that exported networks are compared to.

    Parameters
    ----------
    model
        StarDist2D.
    sections_nyx
        Normalised sections (N, H, W), H and W multiples of what the network asks for.

    Returns
    -------
    tuple of ndarray
        Probability (N, H/g, W/g) and distances (N, n_rays, H/g, W/g) in px of the input.
    """
    prob, dist = model.keras_model.predict_on_batch(sections_nyx[..., None])[:2]
    return np.asarray(prob)[..., 0], np.moveaxis(np.asarray(dist), -1, 1)


def import_stardist() -> tuple[Any, Any]:
    """Import Keras and StarDist's models, which takes seconds and warns of others' code.

    Triton, which torchvision imports through torch, comes first: after TensorFlow, whose symbols of
    LLVM are global, its own copy of LLVM ends the process.
    """
    with warnings.catch_warnings(), contextlib.suppress(ImportError):
        warnings.simplefilter("ignore")
        importlib.import_module("triton")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import keras
        from stardist import models

    return keras, models


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
