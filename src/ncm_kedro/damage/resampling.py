"""The same explanation again: dealt anew, on drawn blocks, on shuffled damage, on moved values."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from ncm_kedro.damage.explaining import (
    Explained,
    Players,
    explain_out_of_sample,
    make_rng,
    predict_linearly,
    run_tasks,
)
from ncm_kedro.damage.grouping import assign_folds, draw_blocks
from ncm_kedro.params.damage_attribution import AttributionParams, DamageForestParams

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
Answer = TypeVar("Answer")


@dataclass(frozen=True)
class AttributionProblem:
    """The particles of one sample, and what may explain their damage.

    Attributes
    ----------
    sample
        Its name.
    values_np
        (N, P), attributes.
    uncertainty_np
        (N, P), how far segmentation could move them; zero where not known.
    damage, damage_uncertainty, blocks
        (N,).
    groups
        Columns of each group of attributes.
    """

    sample: str
    values_np: FloatArray
    uncertainty_np: FloatArray
    damage: FloatArray
    damage_uncertainty: FloatArray
    blocks: IntArray
    groups: Players


Work: TypeAlias = Callable[
    [AttributionProblem, DamageForestParams, AttributionParams, np.random.Generator], Answer
]


@dataclass(frozen=True)
class Repeated:
    """What came out of all repeats for a sample; the last group and attribute are pure noise.

    Attributes
    ----------
    repeats
        Explanations of all particles, by deal of the blocks; SHAP values by group and by attribute.
    linear_rn
        (R, N), predictions of a linear model.
    bootstrap_bg, permuted_pg, perturbed_ug
        Parts of R2 by group of each bootstrap, permutation and perturbation.
    permuted_r2
        (permutations,), R2 of each permutation.
    """

    repeats: tuple[Explained, ...]
    linear_rn: FloatArray
    bootstrap_bg: FloatArray
    permuted_pg: FloatArray
    permuted_r2: FloatArray
    perturbed_ug: FloatArray


def repeat_explanations(
    problems: Sequence[AttributionProblem], forest: DamageForestParams, params: AttributionParams
) -> list[Repeated]:
    """Explain the damage of every sample again and again."""
    whole = repeat_cross_validation(problems, forest, params)
    drawn = _run(
        problems, _explain_bootstrap, params.bootstraps, "bootstraps", forest=forest, params=params
    )
    dealt = _run(
        problems,
        _explain_permuted,
        params.permutations,
        "permutations",
        forest=forest,
        params=params,
    )
    moved = _run(
        problems,
        _explain_perturbed,
        params.perturbations,
        "perturbations",
        forest=forest,
        params=params,
    )
    return [
        Repeated(
            repeats=tuple(explained for explained, _ in whole[number]),
            linear_rn=np.array([linear for _, linear in whole[number]]),
            bootstrap_bg=_stack(drawn[number], problem),
            permuted_pg=_stack(dealt[number], problem),
            permuted_r2=np.array([r2 for _, r2 in dealt[number]]),
            perturbed_ug=_stack(moved[number], problem),
        )
        for number, problem in enumerate(problems)
    ]


def repeat_cross_validation(
    problems: Sequence[AttributionProblem], forest: DamageForestParams, params: AttributionParams
) -> list[list[tuple[Explained, FloatArray]]]:
    """Explain all particles of every sample, with blocks dealt out anew each time.

    Returns
    -------
    list
        By sample and repeat: the explanation, and predictions of a linear model, (N,).
    """
    return _run(
        problems, _explain_cross_validated, params.repeats, "repeats", forest=forest, params=params
    )


def add_noise(values_np: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Append a column of standard normal noise."""
    return np.column_stack([values_np, rng.standard_normal(len(values_np))])


def _run(
    problems: Sequence[AttributionProblem],
    work: Work[Answer],
    count: int,
    purpose: str,
    *,
    forest: DamageForestParams,
    params: AttributionParams,
) -> list[list[Answer]]:
    """Results by sample."""
    tasks = [
        partial(work, each, forest, params, make_rng(params.seed, each.sample, purpose, number))
        for each in problems
        for number in range(count)
    ]
    answers = run_tasks(tasks, params.workers, f"damage: {purpose}")
    return [answers[count * number : count * (number + 1)] for number in range(len(problems))]


def _stack(answers: Sequence[tuple[FloatArray, float]], problem: AttributionProblem) -> FloatArray:
    return np.array([parts for parts, _ in answers]).reshape(-1, len(problem.groups) + 1)


def _explain_cross_validated(
    problem: AttributionProblem,
    forest: DamageForestParams,
    params: AttributionParams,
    rng: np.random.Generator,
) -> tuple[Explained, FloatArray]:
    folds = assign_folds(problem.blocks, params.folds, rng)
    values = add_noise(problem.values_np, rng)
    last = values.shape[1] - 1
    players = ([*problem.groups, [last]], [[column] for column in range(last + 1)])
    found = explain_out_of_sample(values, problem.damage, folds, players, forest=forest, rng=rng)
    return found.sort(), predict_linearly(problem.values_np, problem.damage, folds)


def _explain_bootstrap(
    problem: AttributionProblem,
    forest: DamageForestParams,
    params: AttributionParams,
    rng: np.random.Generator,
) -> tuple[FloatArray, float]:
    rows = draw_blocks(problem.blocks, rng)
    drawn = replace(
        problem,
        values_np=problem.values_np[rows],
        damage=problem.damage[rows],
        blocks=problem.blocks[rows],
    )
    return _share_parts(drawn, forest, params, rng)


def _explain_permuted(
    problem: AttributionProblem,
    forest: DamageForestParams,
    params: AttributionParams,
    rng: np.random.Generator,
) -> tuple[FloatArray, float]:
    dealt = replace(problem, damage=rng.permutation(problem.damage))
    return _share_parts(dealt, forest, params, rng)


def _explain_perturbed(
    problem: AttributionProblem,
    forest: DamageForestParams,
    params: AttributionParams,
    rng: np.random.Generator,
) -> tuple[FloatArray, float]:
    moved = rng.standard_normal(problem.values_np.shape) * problem.uncertainty_np
    shaken = rng.standard_normal(len(problem.damage)) * problem.damage_uncertainty
    perturbed = replace(
        problem,
        values_np=problem.values_np + moved,
        damage=np.clip(problem.damage + shaken, 0.0, 1.0),
    )
    return _share_parts(perturbed, forest, params, rng)


def _share_parts(
    problem: AttributionProblem,
    forest: DamageForestParams,
    params: AttributionParams,
    rng: np.random.Generator,
) -> tuple[FloatArray, float]:
    """Parts of R2 by group, noise last, and R2, of one small cross-validation."""
    values = add_noise(problem.values_np, rng)
    small = forest.model_copy(update={"trees": params.resampled_trees})
    found = explain_out_of_sample(
        values, problem.damage, assign_folds(problem.blocks, params.resampled_folds, rng),
        [[*problem.groups, [values.shape[1] - 1]]],
        forest=small, rng=rng, max_explained=params.max_explained,
    )  # fmt: skip
    return found.share_r2(), found.r2
