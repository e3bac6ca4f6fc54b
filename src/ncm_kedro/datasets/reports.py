"""Tables with dates, report pages, reports by name, metrics: what kedro-viz shows of them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from kedro_datasets.pandas import ParquetDataset
from kedro_datasets.partitions import PartitionedDataset
from kedro_datasets.text import TextDataset
from kedro_mlflow.io.metrics import MlflowMetricsHistoryDataset

from ncm_kedro.atomic_write import write_atomic
from ncm_kedro.datasets.previews import HTMLPreview, JSONPreview, TablePreview, list_first_rows


class DatedTableDataset(ParquetDataset):
    """A table with dates, some of which may be missing.

    Takes the arguments of ``ParquetDataset``.
    """

    def preview(self, nrows: int = 10) -> TablePreview:
        """Return the first rows."""
        return list_first_rows(self.load(), nrows)


class PageDataset(TextDataset):
    """A report page; kedro-viz shows its first screen.

    Takes the arguments of ``TextDataset``.
    """

    def preview(self) -> HTMLPreview:
        """Return what stands in the page's header: the verdict, its picture, the conclusions."""
        _, _, rest = self.load().partition("<header>")
        header, _, _ = rest.partition("</header>")
        line = " ".join(header.split())  # kedro-viz turns a new line into a break
        return HTMLPreview(re.sub(r'width="\d+" height="\d+"', 'width="100%"', line))


class ReportPartitions(PartitionedDataset):
    """Partitions that are JSON, which kedro-viz shows as one tree.

    Takes the arguments of ``PartitionedDataset``.
    """

    def preview(self) -> JSONPreview:
        """Return all reports by name."""
        return JSONPreview(json.dumps({name: load() for name, load in self.load().items()}))


class MetricsDataset(MlflowMetricsHistoryDataset):
    """Logs metrics to the active run; the last value of each lies in a file, for kedro-viz.

    Parameters
    ----------
    filepath
        JSON file.
    options
        As for ``MlflowMetricsHistoryDataset``.
    """

    def __init__(self, *, filepath: str, **options: Any) -> None:
        super().__init__(**options)
        self._filepath = Path(filepath)

    def preview(self) -> TablePreview:
        """Return a row per metric."""
        values = json.loads(self._filepath.read_text(encoding="utf-8"))
        rows = [[name, float(f"{value:.4g}")] for name, value in values.items()]
        return TablePreview(
            {"columns": ["metric", "value"], "index": [*range(len(rows))], "data": rows}
        )

    def _save(self, data: dict[str, Any]) -> None:
        super()._save(data)
        last = {name: item[-1] if isinstance(item, list) else item for name, item in data.items()}
        values = {name: item["value"] for name, item in last.items()}
        write_atomic(self._filepath, json.dumps(values, indent=1).encode())

    def _describe(self) -> dict[str, Any]:
        return {**super()._describe(), "filepath": self._filepath.as_posix()}
