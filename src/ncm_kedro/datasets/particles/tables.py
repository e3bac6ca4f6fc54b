"""Tables of particles, one parquet file per sample, with units in the file."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import Any, Literal, get_args

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from kedro.io import AbstractDataset

from ncm_kedro import __version__
from ncm_kedro.atomic_write import write_atomic
from ncm_kedro.datasets.files import (
    lock_store,
    read_rejections,
    report_write_errors,
    write_rejections,
)
from ncm_kedro.datasets.previews import TablePreview, list_first_rows
from ncm_kedro.errors import SettingsError, StoreError
from ncm_kedro.particles.columns import ATTRIBUTES, find_unit
from ncm_kedro.particles.plan import ParticleTables

SUFFIX = ".parquet"
Columns = Literal["attributes", "plain"]

_KEPT = "existing tables stay complete"
_ATTRS = b"PANDAS_ATTRS"  # where pandas itself looks for `DataFrame.attrs`
_SAMPLE = b"sample"
_VERSION = b"ncm_kedro_version"
_UNCERTAINTY = "_uncertainty"
_UNITS = {"_um": "um", "_um2": "um2", "_um3": "um3", "_deg": "degree", "_vx": "voxel"}
_ATTRIBUTES = {attribute.name: attribute for attribute in ATTRIBUTES}


class ParticleTableFolder(AbstractDataset[Mapping[str, pd.DataFrame], ParticleTables]):
    """Tables as ``<filepath>/<sample>.parquet``.

    Parameters
    ----------
    columns
        How columns are described in the files: ``attributes`` (Table S1 of Li et al. 2022: unit,
        paper name and paper ID) or ``plain`` (units by the ends of the columns' names).
    """

    def __init__(
        self, *, filepath: str, columns: Columns = "plain", metadata: dict[str, Any] | None = None
    ) -> None:
        if columns not in get_args(Columns):
            raise SettingsError(
                f"particle tables {filepath}",
                found=f"columns: {columns}",
                expected=" or ".join(get_args(Columns)),
                action="mend `columns` in the catalog",
            )
        self._filepath = Path(filepath)
        self._columns: Columns = columns
        self.metadata = metadata

    def load(self) -> ParticleTables:
        """Read every table of the folder.

        Returns
        -------
        ParticleTables
            By sample, sorted, with the ``attrs`` that they were saved with. A sample that the
            last save rejected is excluded, even where an older table of it lies there.

        Raises
        ------
        StoreError
            If there is no table, or a damaged one.
        """
        aside = read_rejections(self._filepath)
        files = [path for path in self._list_files() if path.name.removesuffix(SUFFIX) not in aside]
        if not files and not aside:
            raise StoreError(
                self._filepath,
                found="no table",
                expected=f"tables as <sample>{SUFFIX}",
                action="run the pipeline that writes this data set to its end",
            )
        return ParticleTables({p.name.removesuffix(SUFFIX): read_table(p) for p in files}, aside)

    def save(self, data: Mapping[str, pd.DataFrame]) -> None:
        """Write a file per table; tables of other samples are left alone.

        Parameters
        ----------
        data
            Tables by sample; the samples that `ParticleTables` rejects are recorded.

        Raises
        ------
        StoreError
            If there is no table, another run writes here, the disk is full, or the folder may not
            be written.
        """
        aside = data.rejections if isinstance(data, ParticleTables) else {}
        if not data:
            raise StoreError(
                self._filepath,
                found="no table to save" + "".join(f"; {name}: {aside[name]}" for name in aside),
                expected="a table of at least one sample",
                action="look in the log for why no sample was left; the tables that lie here are "
                "those of an earlier run",
            )
        contents = {name: encode_table(data[name], name, self._columns) for name in sorted(data)}
        with report_write_errors(self._filepath, _KEPT), lock_store(self._filepath):
            self._filepath.mkdir(parents=True, exist_ok=True)
            for name, content in contents.items():
                write_atomic(self._filepath / f"{name}{SUFFIX}", content)
            write_rejections(self._filepath, aside)

    def content_hash(self) -> str | None:
        """Return a hash over the files that `load` reads, None where there is none."""
        aside = read_rejections(self._filepath)
        digest = hashlib.sha256()
        files = [path for path in self._list_files() if path.name.removesuffix(SUFFIX) not in aside]
        for path in files:
            digest.update(path.name.encode())
            digest.update(hashlib.sha256(path.read_bytes()).digest())
        return digest.hexdigest() if files else None

    def preview(self, nrows: int = 10) -> TablePreview:
        """Return the first rows of the first table."""
        return list_first_rows(next(iter(self.load().values()), pd.DataFrame()), nrows)

    def _list_files(self) -> list[Path]:
        return sorted(path for path in self._filepath.glob(f"*{SUFFIX}") if path.is_file())

    def _exists(self) -> bool:
        return bool(self._list_files())

    def _describe(self) -> dict[str, Any]:
        return {"filepath": self._filepath.as_posix(), "columns": self._columns}


def encode_table(table: pd.DataFrame, sample: str, columns: Columns) -> bytes:
    """Turn a table into a parquet file.

    Parameters
    ----------
    table
        A row per particle, contact or shell; NaN is stored as null, ``attrs`` must be JSON.
    columns
        How its columns are described.

    Returns
    -------
    bytes
        The file. Pages carry checksums, so that a flipped bit does not pass as a value.
    """
    plain = table.reset_index(drop=True)
    plain.attrs = {}
    arrow = pa.Table.from_pandas(plain, preserve_index=False)
    fields = [
        _fill_null_type(field).with_metadata(_describe_column(field.name, columns, table))
        for field in arrow.schema
    ]
    told = {
        str(key).encode(): (value if isinstance(value, str) else json.dumps(value)).encode()
        for key, value in table.attrs.items()
    }
    attrs = json.dumps(table.attrs).encode()
    own = {_SAMPLE: sample.encode(), _VERSION: __version__.encode(), _ATTRS: attrs}
    schema = pa.schema(fields, {**(arrow.schema.metadata or {}), **told, **own})
    buffer = BytesIO()
    pq.write_table(arrow.cast(schema), buffer, compression="zstd", write_page_checksum=True)
    return buffer.getvalue()


def read_table(path: Path) -> pd.DataFrame:
    """Read a table that `encode_table` made.

    Parameters
    ----------
    path
        File named after its sample or its kind.

    Returns
    -------
    DataFrame
        With ``attrs``; null is NaN, whole numbers and truth values keep their types.

    Raises
    ------
    StoreError
        If it is damaged or not of this project.
    """
    try:
        arrow = pq.read_table(BytesIO(path.read_bytes()), page_checksum_verification=True)
        known = arrow.schema.metadata or {}
        attrs = json.loads(known[_ATTRS])
        table: pd.DataFrame = arrow.to_pandas()
    except (OSError, ValueError, KeyError, TypeError, pa.ArrowException) as error:
        raise StoreError(
            path,
            found=f"a table that cannot be read ({type(error).__name__}: {error})",
            expected="a parquet file that this project wrote",
            action="delete this file and run the pipeline that writes it again",
        ) from error
    table.attrs = attrs
    return table


def _fill_null_type(field: pa.Field) -> pa.Field:
    """Give a column without one value the type of a number, as it has in other samples."""
    return field.with_type(pa.float64()) if pa.types.is_null(field.type) else field


def _describe_column(column: str, columns: Columns, table: pd.DataFrame) -> dict[str, str]:
    name = column.removesuffix(_UNCERTAINTY)
    attribute = _ATTRIBUTES.get(name) if columns == "attributes" else None
    if attribute is None:
        ends = (unit for suffix, unit in _UNITS.items() if name.endswith(suffix))
        return {"unit": next(ends, "1")}
    unit = find_unit(name, {"": table})
    if name != column:
        return {"unit": unit}
    return {
        "unit": unit, "paper_name": attribute.paper_name, "paper_id": str(attribute.paper_id),
    }  # fmt: skip
