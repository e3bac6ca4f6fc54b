"""The folder of returned responses: whatever lies in it, the good files are read."""

import pytest
from kedro.io import DatasetError

from ncm_kedro.datasets.frames.survey import SurveyResponseFolder

HEADER = "survey_id,question,composition,state"


def load(folder):
    return SurveyResponseFolder(filepath=str(folder)).load()


def test_no_folder_means_no_answers_yet(tmp_path):
    returned = load(tmp_path / "nothing")
    assert (returned.files, returned.rejections) == ((), ())
    assert not SurveyResponseFolder(filepath=str(tmp_path / "nothing")).exists()


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_what_spreadsheets_write_is_read_as_text(tmp_path, delimiter, mark, end):
    text = mark + end.join([HEADER, "0123, 1 ,333,", '9,2,"811",cycled', ""])
    (tmp_path / "kim.csv").write_bytes(text.replace(",", delimiter).encode())
    rows = load(tmp_path).files[0].rows
    assert rows.columns.tolist() == HEADER.split(",")
    assert rows.iloc[0].tolist() == ["0123", "1", "333", ""]
    assert rows.iloc[1].tolist() == ["9", "2", "811", "cycled"]


def test_bad_files_are_set_aside_and_the_others_go_on(tmp_path):
    (tmp_path / "good.csv").write_text(f"{HEADER}\na,1,333,cycled\n", encoding="utf-8")
    (tmp_path / "empty.csv").write_bytes(b"")
    (tmp_path / "ragged.csv").write_text(f"{HEADER}\na,1,333,cycled,x,y\n", encoding="utf-8")
    (tmp_path / "binary.csv").write_bytes(b"\xff\xfe\x00\x81")
    (tmp_path / "quote.csv").write_text(f'{HEADER}\na,"1,333\n', encoding="utf-8")
    (tmp_path / "letter.docx").write_bytes(b"PK")
    (tmp_path / ".hidden").write_bytes(b"")
    returned = load(tmp_path)
    reasons = {item.file: item.reason for item in returned.rejections}
    assert [item.file for item in returned.files] == ["good.csv"]
    assert set(reasons) == {"empty.csv", "ragged.csv", "binary.csv", "quote.csv", "letter.docx"}
    assert reasons["letter.docx"] == "not a CSV file"
    assert "cannot be read" in reasons["binary.csv"]


def test_answers_are_never_written(tmp_path):
    with pytest.raises(DatasetError, match="read only"):
        SurveyResponseFolder(filepath=str(tmp_path)).save([])
