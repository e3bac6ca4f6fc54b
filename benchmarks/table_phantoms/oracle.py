"""The shap library as the oracle of our SHAP values: a grown forest in the form that it reads."""

from __future__ import annotations

import shap
from numpy.typing import NDArray

from ncm_kedro.damage.forest import Forest


def make_explainer(forest: Forest) -> shap.TreeExplainer:
    """Return the shap library's explainer of a forest."""
    columns = (
        forest.left, forest.right, forest.feature, forest.threshold,
        forest.value / len(forest.value), forest.cover,
    )  # fmt: skip
    trees = [_describe_tree(*tree) for tree in zip(*columns, strict=True)]
    return shap.TreeExplainer({"trees": trees})


def _describe_tree(*columns: NDArray) -> dict[str, NDArray]:
    nodes = 1 + max(0, columns[0].max(), columns[1].max())  # the rest is padding
    left, right, feature, threshold, value, cover = (column[:nodes] for column in columns)
    return {
        "children_left": left, "children_right": right, "children_default": left,
        "features": feature, "thresholds": threshold, "values": value[:, None],
        "node_sample_weight": cover,
    }  # fmt: skip
