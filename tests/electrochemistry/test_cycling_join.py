import pandas as pd

from ncm_kedro.electrochemistry.measure import join_frames

CELLS = pd.DataFrame({
    "cell_id": ["a", "b", "c", "d"],
    "class": ["811_cycled", "811_cycled", "333", None],
    "last_cycle": pd.array([100, 50, 3, 4], dtype="Int64"),
    "reference_capacity_mah_g": [200.0, 199.0, 150.0, 151.0],
    "last_retention_percent": [80.0, 85.0, 99.0, 98.0],
})  # fmt: skip


def list_rows(joined):
    columns = ["status", "matched_by", "class", "cell_id", "n_frames"]
    return [
        tuple(None if pd.isna(value) else value for value in row)
        for row in joined[columns].itertuples(index=False)
    ]


def make_manifest(rows):
    return pd.DataFrame(rows, columns=["class", "cell_id", "excluded"])


def test_frames_join_by_class_where_no_cell_is_named():
    manifest = make_manifest(
        [["811_cycled", None, False]] * 3 + [["811_cycled", None, True], ["622", None, False]]
    ).drop(columns="cell_id")
    joined = join_frames(manifest, CELLS)
    assert list_rows(joined) == [
        ("frames without a cell", None, "622", None, 1),
        ("matched", "class", "811_cycled", "a", 3),
        ("matched", "class", "811_cycled", "b", 3),
        ("cell without frames", None, "333", "c", 0),
        ("cell without frames", None, None, "d", 0),
    ]
    assert joined["last_retention_percent"].tolist()[1:] == [80.0, 85.0, 99.0, 98.0]


def test_named_cells_go_before_classes():
    manifest = make_manifest([["811_cycled", "b", False], ["811_cycled", "b", False],
                              ["811_cycled", "z", False], ["333", "", False]])  # fmt: skip
    assert list_rows(join_frames(manifest, CELLS)) == [
        ("matched", "class", "333", "c", 1),
        ("matched", "cell_id", "811_cycled", "b", 2),
        ("frames without a cell", None, "811_cycled", "z", 1),
        ("cell without frames", None, "811_cycled", "a", 0),
        ("cell without frames", None, None, "d", 0),
    ]
