import pandas as pd
import pytest
from kedro.io import DatasetError

from ncm_kedro.datasets.cycling import RawCyclingFolder, SyntheticCyclingFolder
from ncm_kedro.electrochemistry.summary import Cell
from ncm_kedro.params.cycling import SyntheticCyclingParams
from ncm_kedro.synthetic.cycling import make_cells


def lay_down(root, files):
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content, encoding="utf-8")
    return RawCyclingFolder(filepath=str(root))


def test_without_a_table_names_and_folders_describe_the_cells(tmp_path):
    raw = lay_down(tmp_path, {"811_cycled/a.csv": "", "b.mpr": "", ".hidden.csv": ""}).load()
    assert [(file.file, file.cell_id) for file in raw.files] == [
        ("811_cycled/a.csv", "a"), ("b.mpr", "b"),
    ]  # fmt: skip
    assert raw.cells == {"a": Cell("a", "811", "811_cycled"), "b": Cell("b")}


def test_the_table_describes_the_cells(tmp_path):
    table = (
        "\ufeffcell_id, file ,composition,state,class,mass_mg,area_cm2,nominal_capacity_mah\n"
        "a,sub\\one.csv,811,cycled,,21.5,1.13,4\na,two.csv,811,cycled,,21.5,1.13,4\n"
        "b,,,,622__VC2PS1,,,\n"
    )
    raw = lay_down(tmp_path, {"cells.csv": table, "sub/one.csv": "", "b.csv": ""}).load()
    assert [(file.file, file.cell_id) for file in raw.files] == [
        ("b.csv", "b"), ("sub/one.csv", "a"), ("two.csv", "a"),
    ]  # fmt: skip
    assert [file.problem for file in raw.files] == [
        None, None, "no such file, though cells.csv names it",
    ]  # fmt: skip
    assert raw.cells == {
        "a": Cell("a", "811", "811_cycled", None, 21.5, 1.13, 4.0),
        "b": Cell("b", "622", "622__VC2PS1"),
    }


def test_other_formats_are_listed_with_their_problem(tmp_path):
    raw = lay_down(tmp_path, {"a.csv": "", "old.res": ""}).load()
    assert raw.files[1].problem == "a .res file, which is not read here"
    assert "old" not in raw.cells


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("file\na.csv\n", "no column cell_id"),
        ("cell_id,mass_mg\n\na,1\n ,20\n", "line 4: found no cell_id"),
        ("cell_id,mass_mg\na,\"12,3\"\n", "line 2, column mass_mg: found '12,3'"),
        ("cell_id,mass_mg\na,0\n", "a number above 0"),
        ("cell_id,file\na,a.csv\nb,a.csv\n", "'a.csv' named twice"),
        ("cell_id,composition,class\na,811,622_cycled\n", "composition 811 and class 622_cycled"),
        ("cell_id,file,mass_mg\na,a.csv,1\na,b.csv,2\n", "two descriptions of cell 'a'"),
    ],
)  # fmt: skip
def test_a_table_that_cannot_be_used_says_where(table, message, tmp_path):
    with pytest.raises(DatasetError, match=message):
        lay_down(tmp_path, {"cells.csv": table, "a.csv": ""}).load()


def test_a_missing_or_empty_folder_says_what_to_put_there(tmp_path):
    with pytest.raises(DatasetError, match="no such folder"):
        RawCyclingFolder(filepath=str(tmp_path / "none")).load()
    with pytest.raises(DatasetError, match="no file; expected cyclers' exports"):
        RawCyclingFolder(filepath=str(tmp_path)).load()


def test_raw_data_is_never_written(tmp_path):
    with pytest.raises(DatasetError, match="raw cycling data"):
        RawCyclingFolder(filepath=str(tmp_path)).save("anything")


def test_synthetic_cells_read_like_raw_ones_and_are_replaced(tmp_path):
    dataset = SyntheticCyclingFolder(filepath=str(tmp_path / "cycling"))
    dataset.save(make_cells(SyntheticCyclingParams(cycles=4)))
    assert len(dataset.load().files) == 13
    dataset.save(make_cells(SyntheticCyclingParams(compositions=("811",), cycles=4)))
    raw = dataset.load()
    assert [file.file for file in raw.files] == [
        "811_cell1.csv", "811_cell2.csv", "811_cell3.csv", "cut_off.mpr",
    ]  # fmt: skip
    assert raw.cells["811_cell1"].class_name == "811_cycled"
    truth = pd.read_parquet(tmp_path / "cycling_truth.parquet")
    assert len(truth) == 12


def test_a_users_folder_is_not_written_to(tmp_path):
    (tmp_path / "mine.csv").write_text("precious")
    with pytest.raises(DatasetError, match="did not write"):
        SyntheticCyclingFolder(filepath=str(tmp_path)).save(
            make_cells(SyntheticCyclingParams(cycles=3))
        )
    assert (tmp_path / "mine.csv").read_text() == "precious"
