"""Exports in each format come back as the records that were written."""

import sys

import numpy as np
import pandas as pd
import pytest
from binary_exports import write_mpr, write_nda
from cycling_records import make_steps

from ncm_kedro.electrochemistry.capacity import integrate_records, sum_cycles
from ncm_kedro.electrochemistry.dialects import match_series, read_state, split_header
from ncm_kedro.electrochemistry.reading import accumulate_steps, parse_clock, read_export
from ncm_kedro.electrochemistry.summary import CyclingFile
from ncm_kedro.errors import TableError
from ncm_kedro.params.cycling import CyclingParams, SyntheticCyclingParams
from ncm_kedro.synthetic.cycling import WRITERS, make_cells, record_cycles

STEPS = [
    (1, 2.0, 3600.0, 1), (0, 0.0, 600.0, 1), (-1, 2.0, 3500.0, 1), (0, 0.0, 600.0, 1),
    (1, 2.0, 3450.0, 2), (0, 0.0, 600.0, 2), (-1, 2.0, 3400.0, 2),
]  # fmt: skip
CHARGE_MAH, DISCHARGE_MAH = [2.0, 2.0 * 3450 / 3600], [2.0 * 3500 / 3600, 2.0 * 3400 / 3600]


def read(path, content):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_export(CyclingFile(path.name, path, path.stem))


def add_up(export):
    params = CyclingParams()
    cycles, reasons = sum_cycles(integrate_records(export.series, params), export.series, params)
    return cycles, list(reasons)


def assert_known(export, rtol=1e-6):
    cycles, reasons = add_up(export)
    assert reasons == ["", ""]
    np.testing.assert_allclose(cycles["charge_capacity_mah"], CHARGE_MAH, rtol=rtol)
    np.testing.assert_allclose(cycles["discharge_capacity_mah"], DISCHARGE_MAH, rtol=rtol)


@pytest.mark.parametrize("vendor", list(WRITERS))
def test_each_vendors_columns_give_the_planted_capacities(vendor, tmp_path):
    params = SyntheticCyclingParams(compositions=("811",), cells_per_composition=1, cycles=4)
    truth = make_cells(params).truth
    suffix, write = WRITERS[vendor]
    export = read(tmp_path / f"cell{suffix}", write(record_cycles(truth, 60.0)))
    assert (export.source, export.cycles_from, export.bad_rows) == (vendor, "file", ())
    cycles, reasons = add_up(export)
    mass_g = truth["mass_mg"].iloc[0] / 1000.0
    for half in ("charge", "discharge"):
        found = cycles[f"{half}_capacity_mah"] / mass_g
        np.testing.assert_allclose(found, truth[f"{half}_capacity_mah_g"], rtol=5e-5)
    assert reasons == [""] * 4


@pytest.mark.parametrize(
    ("names", "scales"),
    [
        (("time_s", "current_ma", "voltage_v"), (1.0, 1.0, 1.0)),
        (("time_h", "current_a", "voltage_mv"), (1 / 3600, 1e-3, 1e3)),
        (("Time [min]", "Current (uA)", "Voltage/V"), (1 / 60, 1e3, 1.0)),
    ],
)
def test_units_of_the_header_are_converted(names, scales, tmp_path):
    series = make_steps(STEPS)
    columns = zip(names, ("time_s", "current_ma", "voltage_v"), scales, strict=True)
    table = pd.DataFrame({name: series[column] * scale for name, column, scale in columns})
    table["cycle"] = series["cycle"].astype(int)
    assert_known(read(tmp_path / "cell.csv", table.to_csv(index=False)))


def test_a_unit_that_is_not_given_is_never_guessed(tmp_path):
    with pytest.raises(TableError, match="no unit; expected one of a, ma, ua"):
        read(tmp_path / "cell.csv", "time_s,current,voltage_v,cycle\n0,1,3,1\n")


def test_lines_before_the_header_semicolons_and_decimal_commas(tmp_path):
    table = make_steps(STEPS)[["time_s", "current_ma", "voltage_v", "cycle"]]
    text = "Exported by a cycler\n\n" + table.to_csv(index=False, sep=";", decimal=",")
    export = read(tmp_path / "cell.txt", text.encode("utf-8-sig"))
    assert_known(export)
    assert export.series["row"].iloc[0] == 4


def test_a_point_and_a_comma_in_numbers_are_listed_not_guessed(tmp_path):
    text = "cycle\tdischarge_capacity_mah_g\n1\t150.5\n2\t1,505\n"
    export = read(tmp_path / "cell.txt", text)
    assert [(row.row, row.reason) for row in export.bad_rows] == [
        (3, "discharge_capacity_mah_g is not a number")
    ]


def test_records_that_cannot_be_read_are_listed_and_leave_their_cycle_out(tmp_path):
    table = make_steps(STEPS)[["time_s", "current_ma", "voltage_v", "cycle"]].astype(str)
    table.loc[3, "current_ma"] = "OVR"
    table.loc[5, "voltage_v"] = ""
    table.loc[7, "time_s"] = "1.0"
    table.loc[8, "cycle"] = "1.5"
    export = read(tmp_path / "cell.csv", table.to_csv(index=False))
    assert [(row.row, row.cycle, row.reason) for row in export.bad_rows] == [
        (5, 1, "current is not a number"),
        (7, 1, "voltage is not a number"),
        (9, 1, "time runs backwards"),
        (10, None, "cycle is not a whole number"),
    ]
    cycles, reasons = add_up(export)
    assert reasons == ["records that cannot be used: 4", ""]
    assert cycles["discharge_capacity_mah"].iloc[1] == pytest.approx(DISCHARGE_MAH[1])


def test_tables_by_cycle(tmp_path):
    text = (
        "cell_id,cycle,charge_capacity_mah_g,discharge_capacity_mah_g\n"
        "a,1,170,150\na,x,1,1\na,2,,149\n\na,3,150\n,4,1,1\na,5,1,1,extra\nb,1,171,151\n"
    )
    export = read(tmp_path / "cells.csv", text)
    assert export.source == "per cycle"
    assert export.cycles[["cell_id", "cycle", "row"]].to_numpy().tolist() == [
        ["a", 1, 2], ["a", 2, 4], ["b", 1, 9],
    ]  # fmt: skip
    assert [(row.row, row.reason) for row in export.bad_rows] == [
        (3, "cycle is not a number"),
        (6, "no discharge capacity"),
        (7, "cell_id is empty"),
        (8, "more values than headers"),
    ]


def test_excel_sheets_of_one_test_are_read_together(tmp_path):
    pytest.importorskip("openpyxl")
    table = make_steps(STEPS).rename(columns={
        "time_s": "Test_Time(s)", "current_ma": "Current(mA)", "voltage_v": "Voltage(V)",
        "cycle": "Cycle_Index",
    })[["Test_Time(s)", "Current(mA)", "Voltage(V)", "Cycle_Index"]]  # fmt: skip
    with pd.ExcelWriter(tmp_path / "cell.xlsx", engine="openpyxl") as book:
        pd.DataFrame({"Test": ["made up"]}).to_excel(book, sheet_name="Global_Info", index=False)
        table.iloc[:100].to_excel(book, sheet_name="Channel_1_1", index=False)
        table.iloc[100:].to_excel(book, sheet_name="Channel_1_2", index=False)
    export = read(tmp_path / "cell.xlsx", (tmp_path / "cell.xlsx").read_bytes())
    assert export.source == "Arbin"
    assert_known(export)


def test_biologic_binary_files_are_read_by_galvani(tmp_path):
    pytest.importorskip("galvani")
    export = read(tmp_path / "cell.mpr", write_mpr(make_steps(STEPS)))
    assert (export.source, export.cycles_from) == ("Biologic", "file")
    assert_known(export)


def test_biologic_files_without_a_cycle_number_are_counted_from_the_current(tmp_path):
    pytest.importorskip("galvani")
    export = read(tmp_path / "cell.mpr", write_mpr(make_steps(STEPS), columns=(4, 6, 76)))
    assert export.cycles_from == "current"
    assert_known(export)


def test_biologic_files_without_current_say_what_they_hold(tmp_path):
    pytest.importorskip("galvani")
    with pytest.raises(TableError, match="columns time/s, Ewe/V, cycle number"):
        read(tmp_path / "cell.mpr", write_mpr(make_steps(STEPS), columns=(4, 6, 24)))


def test_neware_binary_files_are_read_by_newarenda(tmp_path):
    pytest.importorskip("NewareNDA")
    series = make_steps(STEPS)
    step = 1 + (series["time_s"].diff() == 0).cumsum()
    step_time = series["time_s"] - series.groupby(step)["time_s"].transform("min")
    export = read(tmp_path / "cell.nda", write_nda(series, step_time, step))
    assert export.source == "Neware"
    assert_known(export)


@pytest.mark.parametrize(("suffix", "module"), [(".mpr", "galvani"), (".ndax", "NewareNDA"),
                                                (".xlsx", "openpyxl")])  # fmt: skip
def test_a_missing_library_is_named_with_what_installs_it(suffix, module, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(TableError, match=f"{module} is not installed") as caught:
        read(tmp_path / f"cell{suffix}", b"")
    assert module.lower() in str(caught.value).partition("pip install")[2]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("cell.mpr", b"not a Biologic file"), ("cell.nda", b"NEWARE"), ("cell.ndax", b"PK"),
        ("cell.xlsx", b"no zip"), ("cell.csv", b""), ("cell.csv", b"\x00\x01\x02"),
        ("cell.txt", b"Dear reader,\nnothing here\n"),
        ("cell.csv", b"cycle,discharge_capacity_mah_g\n"),
        ("cell.csv", b"time_s,current_ma,voltage_v,cycle\nx,x,x,x\n"),
    ],
)  # fmt: skip
def test_broken_files_give_one_kind_of_error(name, content, tmp_path):
    with pytest.raises(TableError):
        read(tmp_path / name, content)


def test_headers():
    assert split_header(" Current(A) ") == ("current", "a")
    assert split_header("<I>/mA") == ("<i>", "ma")
    assert split_header("Test_Time(s)") == ("test time", "s")
    assert split_header("current_µA") == ("current", "ua")
    assert split_header("Amps") == ("amps", "a")
    assert match_series(["time_s", "current_ma"]) is None
    # Without a state, a current without sign is indistinguishable from one with.
    assert match_series(["TestTime", "Amps", "Volts", "Cyc#"]) is None


def test_states():
    words = ["C", "D", "R", "CC_Chg", "CCCV Chg", "CC DChg", "CV_DChg", "Rest", "SIM"]
    assert [read_state(word) for word in words] == [1, -1, 0, 1, 1, -1, -1, 0, None]


def test_clock_times():
    values = pd.Series(["0:00:10", "  1d 02:00:00.50", "123:45:06", "12:30", "x"])
    np.testing.assert_array_equal(parse_clock(values), [10.0, 93600.5, 445506.0, np.nan, np.nan])


def test_step_times_are_strung_together():
    np.testing.assert_allclose(accumulate_steps(np.array([0.0, 5, 10, 0, 7, 2])),
                               [0, 5, 10, 10, 17, 19])  # fmt: skip
