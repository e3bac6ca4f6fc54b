"""Regularised auto-encoder of particle attributes (Fig. S8A of Li et al. 2022)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from ncm_kedro.damage.grouping import take_values
from ncm_kedro.damage.latent.autoencoder_batch import (
    LAYERS,
    NetworkPlan,
    Weights,
    decode_rows,
    encode_rows,
    mask_dimensions,
    measure_errors,
    train_networks,
)
from ncm_kedro.errors import TableError
from ncm_kedro.params.damage_attribution import AutoencoderParams

FloatArray = NDArray[np.float64]

_MIN_ROWS = 20
_MIN_VALIDATION_ROWS = 4
_MAX_STOPPING = 1000


@dataclass(frozen=True)
class Autoencoder:
    """A trained network with the scale of its attributes.

    Its latent dimensions are in order of significance, the first the most significant; their
    signs carry no meaning.

    Attributes
    ----------
    names
        The K attributes.
    mean_k, scale_k
        Mean and standard deviation of the training rows.
    weights
        By layer, (in, out), and biases (1, out), float32.
    """

    names: tuple[str, ...]
    mean_k: FloatArray
    scale_k: FloatArray
    weights: Mapping[str, NDArray[np.float32]]

    @property
    def dimensions(self) -> int:
        """Number of latent dimensions."""
        return int(self.weights["encoder_out_bias"].shape[1])

    @property
    def latent_names(self) -> tuple[str, ...]:
        """Names of the latent dimensions, LD1 the most significant."""
        return tuple(f"LD{number}" for number in range(1, self.dimensions + 1))

    def encode(self, values_nk: FloatArray) -> FloatArray:
        """Return latent values (N, d) in [0, 1].

        Parameters
        ----------
        values_nk
            Attributes in their own units.
        """
        x = torch.from_numpy((values_nk - self.mean_k) / self.scale_k).to(torch.float32)[None]
        own = torch.ones(1, 1, self.dimensions)
        return encode_rows(self._stack(), x, own)[0].numpy().astype(np.float64)

    def decode(self, latents_nd: FloatArray) -> FloatArray:
        """Return attributes (N, K) in their own units."""
        z = torch.from_numpy(latents_nd).to(torch.float32)[None]
        back = decode_rows(self._stack(), z)[0].numpy().astype(np.float64)
        return back * self.scale_k + self.mean_k

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Return everything as plain arrays, as `numpy.savez` takes them."""
        return {
            "names": np.array(self.names), "mean_k": self.mean_k, "scale_k": self.scale_k,
            **self.weights,
        }  # fmt: skip

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Self:
        """Build the network again from what `to_arrays` returned."""
        keys = [f"{layer}_{part}" for layer in LAYERS for part in ("weight", "bias")]
        return cls(
            names=tuple(str(name) for name in arrays["names"]),
            mean_k=arrays["mean_k"],
            scale_k=arrays["scale_k"],
            weights={key: arrays[key] for key in keys},
        )

    def _stack(self) -> Weights:
        return {name: torch.from_numpy(array)[None] for name, array in self.weights.items()}


@dataclass(frozen=True)
class RowSplit:
    """Rows apart, standardised by the mean and the deviation of the training rows.

    Attributes
    ----------
    parts
        Training, stopping and validation rows, (., K) each.
    mean_k, scale_k
        Mean and standard deviation of the training rows.
    """

    parts: tuple[FloatArray, FloatArray, FloatArray]
    mean_k: FloatArray
    scale_k: FloatArray


def split_rows(
    values: FloatArray, params: AutoencoderParams, number: int, *, validate: bool = True
) -> RowSplit:
    """Draw training, stopping and validation rows.

    Parameters
    ----------
    values
        (N, K).
    params
        Share that is held out, seed.
    number
        Of the split; equal numbers give equal splits.
    validate
        Whether there are validation rows; otherwise they are trained on.

    Raises
    ------
    TableError
        If there are fewer than 20 rows.
    """
    count = len(values)
    if count < _MIN_ROWS:
        raise TableError(
            "particle table",
            found=f"{count} usable particles",
            expected=f"at least {_MIN_ROWS}",
            action="give more particles, or exclude attributes that few particles have",
        )
    held = max(round(params.validation_fraction * count), _MIN_VALIDATION_ROWS)
    order = np.random.default_rng([params.seed, number, count]).permutation(count)
    validation, rest = (order[:held], order[held:]) if validate else (order[:0], order)
    stopping = min(held, _MAX_STOPPING)
    train = values[rest[stopping:]]
    mean, scale = train.mean(axis=0), train.std(axis=0)
    scale[scale == 0] = 1.0
    parts = (train, values[rest[:stopping]], values[validation])
    one, two, three = ((part - mean) / scale for part in parts)
    return RowSplit((one, two, three), mean, scale)


def fit_autoencoder(
    rows: pd.DataFrame,
    names: Sequence[str],
    dimensions: int,
    params: AutoencoderParams,
    *,
    device: str = "cpu",
) -> Autoencoder:
    """Train the regularised network on all rows but those that it is stopped on.

    The best of ``params.repeats`` starts on the stopping rows is selected. Its latent dimensions
    are put in order of significance.

    Parameters
    ----------
    rows
        A row per particle, all samples together.
    device
        Where to compute, as torch names it.

    Raises
    ------
    TableError
        If a column cannot be computed with, or there are fewer than 20 rows.
    """
    values = take_values(rows, names)
    split = split_rows(values, params, number=0, validate=False)
    train, stop, _ = (
        torch.from_numpy(part[None]).to(device, torch.float32) for part in split.parts
    )
    plans = [NetworkPlan(dimensions, 0, True, start=start) for start in range(params.repeats)]
    weights = train_networks(plans, train, stop, params)
    splits = torch.zeros(len(plans), dtype=torch.int64, device=device)
    error = measure_errors(weights, stop, splits, mask_dimensions(plans, device))
    kept = int(error.argmin())
    plain = {name: w[kept].cpu().numpy() for name, w in weights.items()}
    fitted = Autoencoder(tuple(names), split.mean_k, split.scale_k, plain)
    return _order_latents(fitted, np.argsort(-measure_significance(fitted, values), kind="stable"))


def measure_significance(autoencoder: Autoencoder, values_nk: FloatArray) -> FloatArray:
    """Return how much the error rises when a latent dimension is held at its mean, (d,).

    Parameters
    ----------
    values_nk
        Attributes in their own units.

    Returns
    -------
    ndarray
        Rise of the mean square per value in standardised units; 0 where holding it does no harm.
    """
    latents = autoencoder.encode(values_nk)

    def measure(z: FloatArray) -> float:
        residual = (autoencoder.decode(z) - values_nk) / autoencoder.scale_k
        return float(np.mean(residual**2))

    base = measure(latents)
    rises = np.zeros(autoencoder.dimensions)
    for place in range(autoencoder.dimensions):
        held = latents.copy()
        held[:, place] = latents[:, place].mean()
        rises[place] = measure(held) - base
    return np.maximum(rises, 0.0)


def _order_latents(autoencoder: Autoencoder, order: NDArray[np.intp]) -> Autoencoder:
    weights = dict(autoencoder.weights)
    for name in ("encoder_out_weight", "encoder_out_bias"):
        weights[name] = np.ascontiguousarray(weights[name][:, order])
    weights["decoder_in_weight"] = np.ascontiguousarray(weights["decoder_in_weight"][order])
    return Autoencoder(autoencoder.names, autoencoder.mean_k, autoencoder.scale_k, weights)
