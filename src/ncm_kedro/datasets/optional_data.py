"""Data that a pipeline uses where it is there, and does without where it is not."""

from __future__ import annotations

from typing import Any

from kedro.io import AbstractDataset


class OptionalDataset(AbstractDataset[Any, Any]):
    """Another data set that loads as None while there is nothing; it is saved as it is.

    Parameters
    ----------
    dataset
        The other data set, as it would stand in the catalog.
    metadata
        For plug-ins, not used here.

    Attributes
    ----------
    dataset
        The other data set.
    may_be_missing
        A pipeline that reads it runs without it.
    """

    may_be_missing = True

    def __init__(self, *, dataset: dict[str, Any], metadata: dict[str, Any] | None = None) -> None:
        self.dataset: AbstractDataset[Any, Any] = AbstractDataset.from_config("optional", dataset)
        self.metadata = metadata
        if hasattr(self.dataset, "preview"):
            self.preview = self.dataset.preview  # kedro-viz asks whether there is one

    def load(self) -> Any:
        """Return what the other data set loads; None where there is nothing."""
        return self.dataset.load() if self.dataset.exists() else None

    def save(self, data: Any) -> None:
        """Save by the other data set, which may refuse."""
        self.dataset.save(data)

    def _exists(self) -> bool:
        return bool(self.dataset.exists())

    def _describe(self) -> dict[str, Any]:
        return {"dataset": str(self.dataset)}
