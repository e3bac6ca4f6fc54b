"""A folder of cells comes out as simulated; what is wrong is listed, never mended."""

from itertools import combinations, pairwise

import numpy as np
import pytest

from ncm_kedro.electrochemistry.capacity import find_increasing
from ncm_kedro.electrochemistry.measure import measure_cells
from ncm_kedro.electrochemistry.summary import (
    Cell,
    CyclingFile,
    RawCycling,
    summarise_groups,
    tabulate_cells,
)
from ncm_kedro.errors import TableError
from ncm_kedro.params.cycling import CyclingParams, SyntheticCyclingParams
from ncm_kedro.synthetic.cycling import BROKEN_FILE, CELL_TABLE, FADE_PERCENT, make_cells

HEADER = "cycle,charge_capacity_mah_g,discharge_capacity_mah_g\n"
PARAMS = CyclingParams()


def lay_down(root, files, cells=(), cell_of_file=None):
    """A folder with these files; each is the cell of its name unless given otherwise."""
    listed = []
    for name, content in sorted(files.items()):
        path = root / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        listed.append(CyclingFile(name, path, (cell_of_file or {}).get(name, path.stem)))
    return RawCycling(root, tuple(listed), {cell.cell_id: cell for cell in cells})


@pytest.fixture(scope="module")
def simulated(tmp_path_factory):
    """Synthetic cells with special cases, and what was measured of them."""
    made = make_cells(SyntheticCyclingParams(cycles=40, interval_s=300.0))
    files = {name: content for name, content in made.files.items() if name != CELL_TABLE}
    known = made.truth.drop_duplicates("cell_id")
    cells = [
        Cell(row.cell_id, row.composition, row.class_, None, row.mass_mg)
        for row in known.rename(columns={"class": "class_"}).itertuples()
    ]
    raw = lay_down(tmp_path_factory.mktemp("cycling"), files, cells,
                   dict(zip(known["file"], known["cell_id"], strict=True)))  # fmt: skip
    return made.truth, measure_cells(raw, PARAMS)


def test_capacities_and_fade_are_recovered(simulated):
    truth, tables = simulated
    both = tables.cycles.merge(truth, on=["cell_id", "cycle"], suffixes=("", "_true"))
    assert len(both) == (truth["simulated"] == "").sum() == len(tables.cycles)
    for half in ("charge", "discharge"):
        column = f"{half}_capacity_mah_g"
        np.testing.assert_allclose(both[column], both[f"{column}_true"], rtol=1e-4)
    for composition, cells in tables.cycles.groupby("composition"):
        slope = np.polyfit(cells["cycle"], cells["retention_percent"], 1)[0]
        assert slope == pytest.approx(-FADE_PERCENT[composition], rel=0.05)


def test_every_planted_fault_is_listed_and_left_out(simulated):
    truth, tables = simulated
    wrong = truth[~truth["simulated"].isin(["", "missing"])]
    assert set(zip(wrong["cell_id"], wrong["cycle"], wrong["simulated"], strict=True)) == set(
        tables.bad_rows[["cell_id", "cycle", "reason"]].itertuples(index=False, name=None)
    )
    missing = truth[truth["simulated"] != ""]
    cells = tabulate_cells(tables.cycles, tables.bad_rows, tables.cells, PARAMS)
    text = cells.set_index("cell_id")["missing_cycles"]
    assert text[text != ""].to_dict() == {
        row.cell_id: str(row.cycle) for row in missing.itertuples()
    }


def test_one_unreadable_file_does_not_stop_the_others(simulated):
    _, tables = simulated
    problems = tables.files.set_index("file")["problem"].dropna()
    assert list(problems.index) == [BROKEN_FILE]
    assert (tables.files["n_cycles"] > 0).sum() == 12


def test_mean_and_spread_over_cells_are_those_of_numpy(simulated):
    _, tables = simulated
    summary = summarise_groups(tables.cycles)
    for row in summary[summary["cycle"].isin([1, 21, 40])].itertuples():
        cells = tables.cycles[
            (tables.cycles[row.by] == row.group) & (tables.cycles["cycle"] == row.cycle)
        ]
        values = cells[row.quantity].to_numpy()
        assert (row.mean, row.sd) == pytest.approx((values.mean(), np.std(values, ddof=1)))
        assert (row.n, row.n_cells) == (len(values), 3)
    middle = summary[(summary["cycle"] == 21) & (summary["by"] == "composition")]
    assert set(middle["n"]) == {2}  # in each composition one cell has no sound cycle 21


def test_a_cycle_that_no_cell_has_gives_no_row(tmp_path):
    raw = lay_down(tmp_path, {"a.csv": HEADER + "1,101,100\n4,98,97\n"})
    summary = summarise_groups(measure_cells(raw, PARAMS).cycles)
    assert set(summary["cycle"]) == {1, 4}
    assert summary["sd"].isna().all()
    assert set(summary["group"]) == {"unknown"}


def test_each_kind_of_bad_row_has_its_reason(tmp_path):
    rows = ["1,101,100", "2,101,-3", "3,-1,100", "4,101,99", "300,101,99", "5,101,98",
            "6,101,140", "7,101,40", "8,101,97", "8,101,96", "9,101,95"]  # fmt: skip
    tables = measure_cells(lay_down(tmp_path, {"a.csv": HEADER + "\n".join(rows)}), PARAMS)
    assert list(tables.cycles["cycle"]) == [1, 4, 5, 9]
    assert tables.bad_rows[["row", "reason"]].to_numpy().tolist() == [
        [3, "discharge capacity below 0"],
        [4, "charge capacity below 0"],
        [6, "cycle number out of order"],
        [8, "Coulombic efficiency of 138.6 %"],
        [9, "Coulombic efficiency of 39.6 %"],
        [10, "cycle number given more than once for this cell"],
        [11, "cycle number given more than once for this cell"],
    ]


def test_a_slip_of_units_shows_against_the_nominal_capacity(tmp_path):
    cell = Cell("a", mass_mg=20.0, nominal_capacity_mah=3.0)
    tables = measure_cells(
        lay_down(tmp_path, {"a.csv": HEADER + "1,151,150\n2,15100,15000\n"}, [cell]), PARAMS
    )
    assert tables.bad_rows["reason"].tolist() == ["more than 1.5 x the nominal capacity"]


def test_retention_needs_its_reference_cycle(tmp_path):
    raw = lay_down(tmp_path, {"a.csv": HEADER + "1,101,-1\n2,101,100\n3,91,90\n"})
    tables = measure_cells(raw, PARAMS)
    assert tables.cycles["retention_percent"].isna().all()
    cells = tabulate_cells(tables.cycles, tables.bad_rows, tables.cells, PARAMS)
    assert cells["note"].item() == "no cycle 1 to refer to: retention unknown"
    later = measure_cells(raw, CyclingParams(reference_cycle=2))
    assert later.cycles["retention_percent"].tolist() == pytest.approx([100.0, 90.0])


def test_without_a_mass_retention_is_known_and_capacity_per_gram_is_not(tmp_path):
    text = "cycle,charge_capacity_mah,discharge_capacity_mah\n1,4.0,3.6\n2,3.6,3.24\n"
    raw = lay_down(tmp_path, {"a.csv": text})
    tables = measure_cells(raw, PARAMS)
    assert tables.cycles["discharge_capacity_mah_g"].isna().all()
    assert tables.cycles["retention_percent"].tolist() == pytest.approx([100.0, 90.0])
    assert tables.cycles["coulombic_efficiency_percent"].tolist() == pytest.approx([90.0, 90.0])
    weighed = lay_down(tmp_path, {"a.csv": text}, [Cell("a", mass_mg=20.0, area_cm2=1.2)])
    tables = measure_cells(weighed, PARAMS)
    assert tables.cycles["discharge_capacity_mah_g"].tolist() == pytest.approx([180.0, 162.0])
    cells = tabulate_cells(tables.cycles, tables.bad_rows, tables.cells, PARAMS)
    assert cells["reference_capacity_mah_cm2"].item() == pytest.approx(3.0)


def test_files_of_one_cell_are_strung_together_unless_they_contradict(tmp_path):
    files = {"a1.csv": HEADER + "1,101,100\n2,100,99\n", "a2.csv": HEADER + "2,99,98\n3,98,97\n"}
    raw = lay_down(tmp_path, files, [Cell("a")], {"a1.csv": "a", "a2.csv": "a"})
    tables = measure_cells(raw, PARAMS)
    assert list(tables.cycles["cycle"]) == [1, 3]
    assert list(tables.bad_rows["file"]) == ["a1.csv", "a2.csv"]


def test_nothing_left_is_an_error_with_the_reason(tmp_path):
    with pytest.raises(TableError, match=r"such as a\.mpr: a file that cannot be read"):
        measure_cells(lay_down(tmp_path, {"a.mpr": b"x"}), PARAMS)


def test_fewest_numbers_stand_out_of_order():
    rng = np.random.default_rng(5)
    for _ in range(60):
        numbers = rng.integers(0, 9, rng.integers(0, 8))
        member = find_increasing(numbers)
        assert (np.diff(numbers[member]) > 0).all()
        longest = max(
            size
            for size in range(len(numbers) + 1)
            for chosen in combinations(numbers.tolist(), size)
            if all(a < b for a, b in pairwise(chosen))
        )
        assert member.sum() == longest
