"""The folder of responses that experts sent back."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pandas as pd

from ncm_kedro.datasets.files import RawFolder
from ncm_kedro.sem.experiments.survey import ResponseFile, ResponseFiles
from ncm_kedro.sem.io.frames import RejectedFile

_DELIMITERS = (",", ";", "\t")


class SurveyResponseFolder(RawFolder):
    """Responses as ``<filepath>/*.csv``; read only.

    Commas, semicolons and tabs may stand between columns, as spreadsheets write them.
    """

    holds = "experts' responses"

    def load(self) -> ResponseFiles:
        """Read every CSV; one that cannot be read is rejected and the others are read.

        Returns
        -------
        ResponseFiles
            Tables of text, and rejected files; nothing where there is no folder.
        """
        files, aside = [], []
        for path in sorted(self._filepath.glob("*")):
            if path.name.startswith(".") or not path.is_file():
                continue
            if path.suffix.lower() != ".csv":
                aside.append(RejectedFile(path.name, "not a CSV file"))
                continue
            try:
                files.append(ResponseFile(path.name, read_responses(path)))
            except (OSError, ValueError) as error:
                problem = f"a table that cannot be read ({error}); expected UTF-8 CSV with a header"
                aside.append(RejectedFile(path.name, problem))
        return ResponseFiles(tuple(files), tuple(aside))

    def _exists(self) -> bool:
        return self._filepath.is_dir()


def read_responses(path: Path) -> pd.DataFrame:
    """Read a returned CSV as text, columns and cells stripped.

    Raises
    ------
    ValueError
        It is no UTF-8 text, or no table.
    """
    text = path.read_bytes().decode("utf-8-sig")
    delimiter = max(_DELIMITERS, key=text.partition("\n")[0].count)
    try:
        cells = list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True))
    except csv.Error as error:
        raise ValueError(str(error)) from error
    rows = [[cell.strip() for cell in row] for row in cells if any(map(str.strip, row))]
    if not rows:
        raise ValueError("nothing in it")
    header, *body = rows
    ragged = next((row for row in body if len(row) != len(header)), None)
    if ragged is not None:
        raise ValueError(f"a row of {len(ragged)} cells below a header of {len(header)}")
    return pd.DataFrame(body, columns=header, dtype="str")
