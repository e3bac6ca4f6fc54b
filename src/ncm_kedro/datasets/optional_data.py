"""Data that a pipeline uses where it is there, and does without where it is not."""

from __future__ import annotations

from typing import Any, NoReturn

from kedro.io import AbstractDataset, DatasetError


class OptionalDataset(AbstractDataset[None, Any]):
    """Loads another data set, or None where that has nothing; read only.

    Parameters
    ----------
    dataset
        The other data set, as it would stand in the catalog.
    metadata
        For plug-ins, not used here.
    """

    def __init__(self, *, dataset: dict[str, Any], metadata: dict[str, Any] | None = None) -> None:
        self._dataset: AbstractDataset[Any, Any] = AbstractDataset.from_config("optional", dataset)
        self.metadata = metadata

    def load(self) -> Any:
        """Return what the other data set loads; None where there is nothing."""
        return self._dataset.load() if self._dataset.exists() else None

    def save(self, data: None) -> NoReturn:
        """Refuse: it is for reading."""
        raise DatasetError(f"{self._dataset} is only read here")

    def _exists(self) -> bool:
        return bool(self._dataset.exists())

    def _describe(self) -> dict[str, Any]:
        return {"dataset": str(self._dataset)}
