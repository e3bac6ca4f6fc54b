"""How many latent dimensions the auto-encoder needs (Fig. S8B-D of Li et al. 2022).

Found by cross-validation, beside the same network without regularisation and beside principal
components of the same rows. Errors are mean squares per value in standardised units: 1 is the
error of the mean alone.

The error of whole validation rows, on which the paper chooses, falls with every dimension that is
added, for more dimensions copy more noise from input to output (Bro et al. 2008, Anal. Bioanal.
Chem. 390:1241, on component models). Dimensions are chosen here on values that were hidden from
the network and predicted from the other attributes of their row.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from ncm_kedro.damage.grouping import take_values
from ncm_kedro.damage.latent.autoencoder import split_rows
from ncm_kedro.damage.latent.autoencoder_batch import (
    NetworkPlan,
    Weights,
    decode_rows,
    encode_rows,
    mask_dimensions,
    measure_errors,
    train_networks,
)
from ncm_kedro.learning.data.loader import use_one_thread
from ncm_kedro.params.damage_attribution import AutoencoderParams

ERROR_COLUMNS = ("d", "repeat", "method", "train_error", "validation_error", "masked_error")

_HIDDEN_ROWS = 200
_FILL_INS = 10


@dataclass(frozen=True)
class DimensionSearch:
    """What cross-validation found.

    Attributes
    ----------
    errors
        `ERROR_COLUMNS`, a row per number of latent dimensions ``d``, repeat and method
        (``regularised``, ``plain``, ``pca``): error of training rows, of validation rows, and of
        values of validation rows that were hidden and predicted from the rest of the row.
    chosen
        Smallest ``d`` whose mean hidden error is within one standard error of the least
        (Breiman et al. 1984), of the regularised network.
    best
        ``d`` of the least mean validation error of the regularised network, the paper's choice.
    """

    errors: pd.DataFrame
    chosen: int
    best: int


def search_dimensions(
    rows: pd.DataFrame, names: Sequence[str], params: AutoencoderParams, *, device: str = "cpu"
) -> DimensionSearch:
    """Measure by cross-validation how many latent dimensions the attributes need.

    Each repeat draws three parts: validation rows, as many rows (1000 at most) to stop on, and
    the rest to train on, whose mean and deviation standardise all three. Validation rows take no
    part in training, so that networks and principal components are evaluated alike. All networks
    are
    trained in one batched computation.

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
    splits = [split_rows(values, params, number) for number in range(params.repeats)]
    train, stop, validate = (
        torch.from_numpy(np.stack(part)).to(device, torch.float32)
        for part in zip(*(split.parts for split in splits), strict=True)
    )
    most = min(params.max_dimensions, len(names))
    plans = [
        NetworkPlan(dimensions, number, regularised, start=number)
        for regularised in (True, False)
        for dimensions in range(1, most + 1)
        for number in range(params.repeats)
    ]
    weights = train_networks(plans, train, stop, params)
    errors = pd.concat(
        [
            _list_network_errors(plans, weights, train, validate),
            _list_pca_errors(train, validate, most),
        ],
        ignore_index=True,
    )
    chosen, best = choose_dimensions(errors)
    return DimensionSearch(errors, chosen, best)


def choose_dimensions(errors: pd.DataFrame) -> tuple[int, int]:
    """Return the number of dimensions by the one-standard-error rule, and the paper's choice.

    Parameters
    ----------
    errors
        `ERROR_COLUMNS`.

    Returns
    -------
    chosen, best
        Smallest ``d`` whose mean hidden error is no more than one standard error (over the
        repeats, at the least mean) above the least; ``d`` of the least mean validation error. Of
        the regularised network alone.
    """
    own = errors[errors["method"] == "regularised"].groupby("d")
    hidden, standard_error = own["masked_error"].mean(), own["masked_error"].sem()
    least = int(hidden.to_numpy().argmin())
    limit = float(hidden.iloc[least] + standard_error.iloc[least])
    whole = own["validation_error"].mean()
    return int(hidden.index[hidden <= limit].min()), int(
        whole.index[int(whole.to_numpy().argmin())]
    )


def measure_masked_errors(
    reconstruct: Callable[[Tensor], Tensor], rows_mnk: Tensor
) -> NDArray[np.float64]:
    """Return the squared error of values that are predicted from the others of their row, (M,).

    One attribute after the other is hidden in all rows. It is filled in with its mean, 0, and
    then with what the reconstruction gives, ten times over.

    Parameters
    ----------
    reconstruct
        From rows (M, N, K) to their reconstruction by each of M models.
    rows_mnk
        Standardised rows of each model.
    """
    total = torch.zeros(len(rows_mnk), dtype=torch.float64)
    with use_one_thread(), torch.no_grad():
        for place in range(rows_mnk.shape[2]):
            filled = rows_mnk.clone()
            filled[:, :, place] = 0.0
            for _ in range(_FILL_INS):
                filled[:, :, place] = reconstruct(filled)[:, :, place]
            error = (filled[:, :, place] - rows_mnk[:, :, place]).square().mean(dim=1)
            total += error.cpu().double()
    mean: NDArray[np.float64] = (total / rows_mnk.shape[2]).numpy()
    return mean


def _list_network_errors(
    plans: Sequence[NetworkPlan], weights: Weights, train: Tensor, validate: Tensor
) -> pd.DataFrame:
    device = str(train.device)
    splits = torch.tensor([plan.split for plan in plans], device=device)
    mask = mask_dimensions(plans, device)

    def reconstruct(x_mnk: Tensor) -> Tensor:
        return decode_rows(weights, encode_rows(weights, x_mnk, mask))

    trained, validated = (
        measure_errors(weights, rows, splits, mask).cpu().double().numpy()
        for rows in (train, validate)
    )
    return pd.DataFrame(
        {
            "d": [plan.dimensions for plan in plans],
            "repeat": [plan.split for plan in plans],
            "method": ["regularised" if plan.regularised else "plain" for plan in plans],
            "train_error": trained, "validation_error": validated,
            "masked_error": measure_masked_errors(reconstruct, validate[splits, :_HIDDEN_ROWS]),
        }
    )  # fmt: skip


def _list_pca_errors(train: Tensor, validate: Tensor, most: int) -> pd.DataFrame:
    parts = []
    for number, (rows, others) in enumerate(zip(train, validate, strict=True)):
        axes = torch.linalg.svd(rows, full_matrices=False).Vh[:most]
        projectors = torch.cumsum(axes[:, :, None] * axes[:, None, :], dim=0)
        errors = {
            name: (part - part @ projectors).square().mean(dim=(1, 2)).cpu().double().numpy()
            for name, part in (("train_error", rows), ("validation_error", others))
        }
        stacked = others[:_HIDDEN_ROWS].expand(len(axes), -1, -1)
        errors["masked_error"] = measure_masked_errors(partial(torch.bmm, mat2=projectors), stacked)
        d = np.arange(1, len(axes) + 1)
        parts.append(pd.DataFrame({"d": d, "repeat": number, "method": "pca", **errors}))
    return pd.concat(parts, ignore_index=True)
