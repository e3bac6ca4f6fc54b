"""Folders of star-convex networks, read without TensorFlow.

A folder holds ``config.json``, ``thresholds.json`` and ``weights_*.h5``, as StarDist writes them;
a folder of this product has ``detector.json`` beside them, and ``detector.onnx`` once exported.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from ncm_kedro.errors import ModelError

T = TypeVar("T")
Kernel = NDArray[np.float32]
Weights = dict[str, tuple[Kernel, Kernel]]

DETECTOR_FILE = "detector.json"
ONNX_FILE = "detector.onnx"
WEIGHTS_FILE = "weights_best.h5"

_PUBLISHED_THRESHOLDS = {"prob": 0.5, "nms": 0.4}
_EXPECTED = "a StarDist2D folder: config.json, thresholds.json, weights_*.h5"


@dataclass(frozen=True)
class NetworkShape:
    """What the network looks like, as far as this product supports it.

    Attributes
    ----------
    n_rays
        Directions in which the distance is predicted.
    grid_px
        Input pixels per predicted point.
    depth, filters, convolutions, expansion
        Of the U-Net: halvings, channels of the first level, convolutions per level, and the
        factor by which channels grow per level.
    features
        Channels that both outputs read; 0 where they read the U-Net itself.
    kernel_px
        Edge of the convolutions.
    """

    n_rays: int
    grid_px: int
    depth: int
    filters: int
    convolutions: int
    expansion: int
    features: int
    kernel_px: int

    @property
    def multiple_px(self) -> int:
        """Height and width of an input must be multiples of this."""
        return int(self.grid_px * 2**self.depth)

    def trace(self, operations: Operations[T], top: T) -> tuple[T, T]:
        """Walk through the network; this is its only description.

        Parameters
        ----------
        operations
            What a layer does to what comes from the one before.

        Returns
        -------
        tuple
            What comes out of the layers ``prob`` (before the sigmoid) and ``dist``.
        """

        def convolve_all(prefix: str, top: T, width: int, last: int) -> T:
            for number in range(self.convolutions - 1):
                top = operations.convolve(f"{prefix}_{number}", top, width)
            return operations.convolve(f"{prefix}_{self.convolutions}", top, last)

        down = [(f"grid_level_{n}", self.filters) for n in range(self.grid_px.bit_length() - 1)]
        widths = [self.filters * self.expansion**level for level in range(self.depth + 1)]
        down += [(f"down_level_{level}", widths[level]) for level in range(self.depth)]
        skipped = []
        for prefix, width in down:
            for number in range(self.convolutions):
                top = operations.convolve(f"{prefix}_no_{number}", top, width)
            skipped.append(top)
            top = operations.pool(top)
        top = convolve_all("middle", top, widths[self.depth], widths[self.depth - 1])
        for level in reversed(range(self.depth)):
            top = operations.join(top, skipped.pop())
            last = widths[max(0, level - 1)]
            top = convolve_all(f"up_level_{level}_no", top, widths[level], last)
        if self.features:
            top = operations.convolve("features", top, self.features)
        return (
            operations.convolve("prob", top, 1, rectify=False),
            operations.convolve("dist", top, self.n_rays, rectify=False),
        )

    def list_layers(self) -> list[tuple[str, int, int, int]]:
        """List the convolutions in order: name, kernel edge, channels in, channels out."""
        counted = _Layers(self.kernel_px)
        self.trace(counted, 1)
        return counted.layers


class Operations(Protocol[T]):
    """The operations of a network on values of one kind."""

    def convolve(self, layer: str, top: T, channels: int, *, rectify: bool = True) -> T:
        """Convolve to so many channels, and apply ReLU."""

    def pool(self, top: T) -> T:
        """Take the maximum of 2 x 2."""

    def join(self, top: T, skipped: T) -> T:
        """Upsample by 2 and append the channels of an earlier layer."""


class _Layers:
    """Operations on the number of channels."""

    def __init__(self, kernel_px: int) -> None:
        self._kernel_px = kernel_px
        self.layers: list[tuple[str, int, int, int]] = []

    def convolve(self, layer: str, top: int, channels: int, *, rectify: bool = True) -> int:
        self.layers.append((layer, self._kernel_px if rectify else 1, top, channels))
        return channels

    def pool(self, top: int) -> int:
        return top

    def join(self, top: int, skipped: int) -> int:
        return top + skipped


def read_shape(folder: Path, *, n_rays: int | None = None) -> NetworkShape:
    """Read what a folder's network looks like.

    Parameters
    ----------
    folder
        A StarDist2D folder.
    n_rays
        Number of rays that it must have; None for any.

    Raises
    ------
    ModelError
        If there is no such folder, or its network is of a kind that is not supported.
    """
    config = _read_json(folder, "config.json")
    try:
        grid = {int(edge) for edge in config["grid"]}
        kernel = {int(edge) for edge in config.get("unet_kernel_size", (3, 3))}
        shape = NetworkShape(
            n_rays=int(config["n_rays"]),
            grid_px=min(grid),
            depth=int(config["unet_n_depth"]),
            filters=int(config["unet_n_filter_base"]),
            convolutions=int(config.get("unet_n_conv_per_depth", 2)),
            expansion=int(config.get("unet_expansion", 2)),
            features=int(config.get("net_conv_after_unet", 128)),
            kernel_px=min(kernel),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise _damaged(
            folder / "config.json",
            f"an entry that is missing or malformed ({error!r})",
            "the configuration of a StarDist2D network",
        ) from error
    _check_supported(folder, config, grid, kernel)
    if n_rays is not None and shape.n_rays != n_rays:
        raise ModelError(
            folder,
            found=f"a network with {shape.n_rays} rays",
            expected=f"one with {n_rays}, as requested",
            action="name a model with that many rays, or ask for this one's",
        )
    return shape


def _check_supported(
    folder: Path, config: Mapping[str, Any], grid: set[int], kernel: set[int]
) -> None:
    unlike = [
        (f"a network of {config.get('n_dim')} dimensions", config.get("n_dim", 2) != 2),
        (f"{config.get('n_channel_in')} input channels", config.get("n_channel_in", 1) != 1),
        (f"backbone {config.get('backbone')}", config.get("backbone", "unet") != "unet"),
        (f"{config.get('n_classes')} object classes", config.get("n_classes") is not None),
        ("batch normalisation", bool(config.get("unet_batch_norm", False))),
        (f"grid {config.get('grid')}", len(grid) > 1 or not grid <= {1, 2, 4}),
        (f"kernels of {config.get('unet_kernel_size')}", len(kernel) > 1),
        (f"pooling of {config.get('unet_pool')}", list(config.get("unet_pool", (2, 2))) != [2, 2]),
        (
            f"activation {config.get('unet_activation')}",
            {config.get("unet_activation", "relu"), config.get("unet_last_activation", "relu")}
            != {"relu"},
        ),
    ]
    found = [what for what, differs in unlike if differs]
    if found:
        raise ModelError(
            folder / "config.json",
            found=", ".join(found),
            expected="StarDist2D with one grey channel, one class, a plain U-Net (ReLU, no batch "
            "normalisation) and grid 1, 2 or 4",
            action="name another model folder, or train one with tomo_train",
        )


def read_thresholds(folder: Path) -> tuple[float, float]:
    """Read the probability and overlap thresholds; StarDist's defaults where there are none."""
    if not (folder / "thresholds.json").is_file():
        return _PUBLISHED_THRESHOLDS["prob"], _PUBLISHED_THRESHOLDS["nms"]
    thresholds = _read_json(folder, "thresholds.json")
    try:
        return float(thresholds["prob"]), float(thresholds["nms"])
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(
            folder / "thresholds.json",
            found=f"an entry that is missing or malformed ({error!r})",
            expected='numbers under "prob" and "nms"',
            action="correct the file, or delete it: then StarDist's defaults 0.5 and 0.4 hold",
        ) from error


def read_summary(folder: Path) -> dict[str, Any]:
    """Read ``detector.json``, empty where the folder is not of this product."""
    return _read_json(folder, DETECTOR_FILE) if (folder / DETECTOR_FILE).is_file() else {}


def find_weights(folder: Path) -> Path:
    """Find the weights: ``weights_best.h5``, else the newest of ``weights_*.h5``.

    Raises
    ------
    ModelError
        If there are none.
    """
    best = folder / WEIGHTS_FILE
    if best.is_file():
        return best
    found = sorted(folder.glob("weights_*.h5"), key=lambda path: path.stat().st_mtime)
    if not found:
        raise _damaged(folder, "no weights_*.h5" if folder.is_dir() else "no such folder")
    return found[-1]


def read_weights(folder: Path, shape: NetworkShape) -> Weights:
    """Read the weights by layer, kernels as (height, width, channels in, channels out).

    Raises
    ------
    ModelError
        If they are missing, damaged, or of another network than that of the configuration.
    """
    path = find_weights(folder)
    try:
        found = _read_keras_weights(path, shape.convolutions)
    except (OSError, KeyError, ValueError, RuntimeError) as error:
        raise ModelError(
            path,
            found=f"a file that cannot be read as weights ({error})",
            expected="the weights of a Keras model in HDF5",
            action="copy the file again, or train the model again",
        ) from error
    weights: Weights = {}
    for name, edge, channels, out in shape.list_layers():
        kernel, bias = found.get(name, (np.empty(0, np.float32), np.empty(0, np.float32)))
        if kernel.shape != (edge, edge, channels, out) or bias.shape != (out,):
            raise ModelError(
                path,
                found=f"a kernel of shape {kernel.shape} for layer {name}"
                if kernel.size
                else f"no layer {name}",
                expected=f"shape {(edge, edge, channels, out)}, after config.json",
                action="take weights and config.json from the same model",
            )
        if not (np.isfinite(kernel).all() and np.isfinite(bias).all()):
            raise ModelError(
                path,
                found=f"weights of layer {name} that are not finite",
                expected="finite weights",
                action="copy the file again, or train the model again",
            )
        weights[name] = (kernel, bias)
    return weights


def _read_keras_weights(path: Path, per_level: int) -> Weights:
    """Read kernel and bias of each layer; the grid's layers are unnamed and numbered by Keras."""
    import h5py

    layers: Weights = {}
    unnamed: list[tuple[int, tuple[Kernel, Kernel]]] = []
    with h5py.File(path, "r") as file:
        root = file["model_weights"] if "model_weights" in file else file
        for layer in root.attrs["layer_names"]:
            name = layer.decode() if isinstance(layer, bytes) else str(layer)
            stored = [
                np.asarray(root[name][key.decode() if isinstance(key, bytes) else key], np.float32)
                for key in root[name].attrs["weight_names"]
            ]
            if len(stored) != 2:
                continue
            pair = (stored[0], stored[1])
            numbered = re.fullmatch(r"conv2d(?:_(\d+))?", name)
            if numbered:
                unnamed.append((int(numbered[1] or 0), pair))
            else:
                layers[name] = pair
    unnamed.sort(key=lambda entry: entry[0])
    grid_layers = {
        f"grid_level_{index // per_level}_no_{index % per_level}": pair
        for index, (_, pair) in enumerate(unnamed)
    }
    return layers | grid_layers


def fingerprint_folder(folder: Path) -> str:
    """Return the identity of a detector: its configuration, thresholds and weights."""
    digest = hashlib.sha256()
    for path in (folder / "config.json", folder / "thresholds.json", folder / DETECTOR_FILE):
        digest.update(path.read_bytes() if path.is_file() else b"-")
    digest.update(find_weights(folder).read_bytes())
    return digest.hexdigest()


def _read_json(folder: Path, name: str) -> dict[str, Any]:
    path = folder / name
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise _damaged(folder, f"no {name}" if folder.is_dir() else "no such folder") from error
    except (OSError, ValueError) as error:
        raise _damaged(path, f"a file that cannot be read ({error})") from error
    if not isinstance(content, dict):
        raise _damaged(path, f"a JSON {type(content).__name__} instead of an object")
    return content


def _damaged(where: Path, found: str, expected: str = _EXPECTED) -> ModelError:
    action = "copy the model's folder again, or name another one"
    return ModelError(where, found=found, expected=expected, action=action)
