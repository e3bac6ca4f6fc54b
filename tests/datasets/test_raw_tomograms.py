"""Reading tomograms of every layout, and refusing what is none."""

import os
import pickle
from itertools import product
from pathlib import Path

import h5py
import numpy as np
import pytest
import tifffile
import zarr
from kedro.io import DatasetError

from ncm_kedro.datasets.tomograms.notes import convert_to_um, name_sample
from ncm_kedro.datasets.tomograms.raw import RawTomogramFolder
from ncm_kedro.errors import TomogramError

SHAPE = (5, 6, 7)
KINDS = ["u1", "i1", "<u2", ">u2", "<i2", ">i2", ">i4", "<f2", "<f4", ">f4", ">f8"]


def draw_values(kind="<u2", shape=SHAPE):
    return (np.arange(np.prod(shape)) % 120).reshape(shape).astype(kind)


def load(folder, **options):
    return RawTomogramFolder(filepath=str(folder), **options).load()


def say(folder, sample="s", text="voxel_size_um: [0.3, 0.2, 0.1]"):
    (folder / f"{sample}.yml").write_text(text)


def write_h5(path, datasets, attrs=()):
    with h5py.File(path, "w") as file:
        for name, values in datasets.items():
            file[name] = values
        for name, key, value in attrs:
            file[name].attrs[key] = value


def check(folder, values, spacing=(0.3, 0.2, 0.1)):
    tomogram = pickle.loads(pickle.dumps(load(folder)["s"]))  # noqa: S301
    assert tomogram.shape_zyx == values.shape
    assert tomogram.dtype.newbyteorder("=") == values.dtype.newbyteorder("=")
    assert tomogram.voxel_size_um == pytest.approx(spacing)
    region = (slice(1, 4), slice(2, 6), slice(0, 5))
    np.testing.assert_array_equal(tomogram.read(region), values[region])
    return tomogram


def refusal(folder, sample="s"):
    with pytest.raises(DatasetError) as caught:
        load(folder, samples=[sample])
    assert isinstance(caught.value.__cause__, TomogramError)
    return str(caught.value.__cause__)


@pytest.mark.parametrize(
    ("form", "kind"),
    [*product(["plain", "folder"], KINDS), ("deflate", ">u2"), ("bigtiff", "<f4")],
)
def test_tiff(tmp_path, kind, form):
    values = draw_values(kind)
    order = ">" if kind.startswith(">") else "<"
    say(tmp_path)
    if form == "folder":
        (tmp_path / "s").mkdir()
        for z, section in enumerate(values):
            tifffile.imwrite(tmp_path / "s" / f"z{z + 8}.tif", section, byteorder=order)
    else:
        tifffile.imwrite(
            tmp_path / "s.tif", values, byteorder=order, bigtiff=form == "bigtiff",
            photometric="minisblack", compression="deflate" if form == "deflate" else None,
        )  # fmt: skip
    check(tmp_path, values)


@pytest.mark.parametrize(
    ("form", "kind"), [*product(["h5", "zarr3"], KINDS), ("zarr2", ">u2"), ("zarr2", "<f4")]
)
def test_hdf5_and_zarr(tmp_path, kind, form):
    values = draw_values(kind)
    say(tmp_path)
    if form == "h5":
        write_h5(tmp_path / "s.h5", {"volume": values})
    else:
        array = zarr.create_array(
            tmp_path / "s.zarr", shape=SHAPE, dtype=kind, chunks=(2, 3, 4), zarr_format=int(form[4])
        )
        array[:] = values
    check(tmp_path, values)


def test_imagej_stack_knows_its_voxels(tmp_path):
    values = draw_values("<u2")
    tifffile.imwrite(
        tmp_path / "s.tif", values, imagej=True, resolution=(0.01, 0.005),
        metadata={"spacing": 300, "unit": "nm", "axes": "ZYX"},
    )  # fmt: skip
    tifffile.imwrite(
        tmp_path / "t.tif", values, imagej=True, resolution=(10, 5),
        metadata={"spacing": 0.3, "unit": "um", "axes": "ZYX"},
    )  # fmt: skip
    assert load(tmp_path)["t"].voxel_size_um == pytest.approx((0.3, 0.2, 0.1))
    assert load(tmp_path)["s"].voxel_size_um == pytest.approx((0.3, 0.2, 0.1))


def test_ome_tiff_knows_its_voxels(tmp_path):
    values = draw_values("<u2")
    tifffile.imwrite(
        tmp_path / "s.ome.tif", values,
        metadata={"axes": "ZYX", "PhysicalSizeX": 0.1, "PhysicalSizeY": 0.2, "PhysicalSizeZ": 300,
                  "PhysicalSizeZUnit": "nm"},
    )  # fmt: skip
    assert check(tmp_path, values).voxel_size_source == "OME-XML PhysicalSize"


def test_resolution_counts_only_when_it_is_no_printers(tmp_path):
    values = draw_values("<u2")
    tifffile.imwrite(
        tmp_path / "s.tif", values, resolution=(20_000, 20_000), resolutionunit="CENTIMETER"
    )  # fmt: skip
    check(tmp_path, values, (0.5, 0.5, 0.5))
    tifffile.imwrite(tmp_path / "t.tif", values, resolution=(72, 72), resolutionunit="INCH")
    assert "a printer's resolution" in refusal(tmp_path, "t")


def test_notes_beat_the_file_and_are_handed_on(tmp_path):
    values = draw_values("<u2")
    tifffile.imwrite(
        tmp_path / "s.tif", values, resolution=(20_000, 20_000), resolutionunit="CENTIMETER"
    )  # fmt: skip
    say(tmp_path, text='voxel_size_um: 0.07\ncycles: 50\nc_rate: 5\naxis_to_collector: "-z"')
    tomogram = check(tmp_path, values, (0.07, 0.07, 0.07))
    assert tomogram.voxel_size_source == "s.yml"
    assert tomogram.attributes == {"cycles": 50, "c_rate": 5, "axis_to_collector": "-z"}


def test_missing_voxel_size_says_what_to_write_where(tmp_path):
    tifffile.imwrite(tmp_path / "s.tif", draw_values("<u2"))
    message = refusal(tmp_path)
    assert "no voxel size" in message
    assert f"`voxel_size_um: [0.07, 0.07, 0.07]` (z, y, x) into {tmp_path / 's.yml'}" in message


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("voxel_size_um: [0.1, 0.1]", "voxel_size_um.2: Field required"),
        ("voxel_size_um: 0", "greater than 0"),
        ("voxel_size_um: .nan", "voxel_size_um"),
        ("voxelsize: 0.1", "voxelsize: Extra inputs are not permitted"),
        ("axis_to_collector: up", "axis_to_collector"),
        ("[1, 2", "cannot be parsed"),
        ("- 3", "the file:"),
    ],
)
def test_bad_notes(tmp_path, text, said):
    tifffile.imwrite(tmp_path / "s.tif", draw_values("<u2"))
    say(tmp_path, text=text)
    message = refusal(tmp_path)
    assert said in message
    assert "s.yml" in message


def test_dxchange(tmp_path):
    values = draw_values("<u2")
    write_h5(tmp_path / "s.h5", {"exchange/data": values, "other": draw_values(shape=(9, 9, 9))})
    say(tmp_path)
    check(tmp_path, values)


def test_nexus_with_pixel_sizes(tmp_path):
    values = draw_values("<f4")
    write_h5(
        tmp_path / "s.nxs",
        {"entry0000/reconstruction/results/data": values[None], "entry0000/thumb": values[:4],
         "entry0000/sample/x_pixel_size": 1e-7, "entry0000/sample/y_pixel_size": 2e-7,
         "entry0000/sample/z_pixel_size": 3e-7, "entry0000/detector/x_pixel_size": 6.5e-6},
        [(f"entry0000/{place}", "units", "m") for place in
         ("sample/x_pixel_size", "sample/y_pixel_size", "sample/z_pixel_size",
          "detector/x_pixel_size")],
    )  # fmt: skip
    assert check(tmp_path, values).voxel_size_source == "/entry0000/sample/x_pixel_size"


def test_hdf5_soft_links_and_the_largest(tmp_path):
    values = draw_values("<u2")
    write_h5(tmp_path / "s.h5", {"a/big": values, "a/small": values[:2]})
    with h5py.File(tmp_path / "s.h5", "a") as file:
        file["alias"] = h5py.SoftLink("/a/big")
        file["broken"] = h5py.SoftLink("/nowhere")
        file["a/big"].attrs["element_size_um"] = [0.3, 0.2, 0.1]
    check(tmp_path, values)


def test_ambiguous_hdf5_lists_what_it_holds_and_takes_a_name(tmp_path):
    values = draw_values("<u2")
    write_h5(tmp_path / "s.h5", {"a": values, "b": values[:4]})
    say(tmp_path)
    message = refusal(tmp_path)
    assert "2 data sets that may be the volume" in message
    assert "/a (5, 6, 7) uint16; /b (4, 6, 7) uint16" in message
    say(tmp_path, text="voxel_size_um: [0.3, 0.2, 0.1]\ndataset: b")
    check(tmp_path, values[:4])
    say(tmp_path, text="voxel_size_um: 1\ndataset: c")
    assert "no data set c" in refusal(tmp_path)


def test_projections_are_no_volume(tmp_path):
    write_h5(tmp_path / "s.h5", {"exchange/data": draw_values(), "exchange/theta": np.arange(5)})
    say(tmp_path)
    assert "projections with their angles" in refusal(tmp_path)


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_ome_zarr(tmp_path, version):
    values = draw_values("<u2")
    group = zarr.create_group(tmp_path / "s.ome.zarr", zarr_format=2 if version == "0.4" else 3)
    for name, data in (("1", values[::2]), ("0", values[None, None])):
        group.create_array(name, data=data)
    axes = [{"name": "t"}, {"name": "c"}] + [
        {"name": n, "type": "space", "unit": "nanometer"} for n in "zyx"
    ]
    image = {
        "axes": axes,
        "datasets": [
            {"path": "0", "coordinateTransformations": [
                {"type": "scale", "scale": [1, 1, 300, 200, 50]}]},
            {"path": "1", "coordinateTransformations": [
                {"type": "scale", "scale": [1, 1, 600, 200, 50]}]},
        ],
        "coordinateTransformations": [{"type": "scale", "scale": [1, 1, 1, 1, 2]}],
    }  # fmt: skip
    if version == "0.4":
        group.attrs["multiscales"] = [{"version": "0.4", **image}]
    else:
        group.attrs["ome"] = {"version": "0.5", "multiscales": [image]}
    assert check(tmp_path, values).voxel_size_source == "OME-Zarr scale in nanometer"


def test_plain_zarr_group(tmp_path):
    values = draw_values("<u2")
    group = zarr.create_group(tmp_path / "s.zarr")
    group.create_array("scan/volume", data=values)
    say(tmp_path)
    check(tmp_path, values)
    group.create_array("scan/second", data=values)
    assert "2 arrays that may be the volume" in refusal(tmp_path)
    say(tmp_path, text="voxel_size_um: [0.3, 0.2, 0.1]\ndataset: scan/volume")
    check(tmp_path, values)


def write_sections(folder, sections):
    (folder / "s").mkdir()
    for z, section in enumerate(sections):
        tifffile.imwrite(folder / "s" / f"{z}.tif", section)


def cut(path, share=0.6):
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])


def write_cut_tiff(folder, compression):
    values = np.random.default_rng(0).integers(0, 255, (8, 40, 40)).astype(np.uint8)
    tifffile.imwrite(folder / "s.tif", values, compression=compression)
    cut(folder / "s.tif")


def write_mixed_pages(folder):
    with tifffile.TiffWriter(folder / "s.tif") as file:
        file.write(np.zeros((6, 7), np.uint8), metadata=None)
        file.write(np.zeros((6, 9), np.uint8), metadata=None)


def write_broken_zarr(folder):
    zarr.create_array(folder / "s.zarr", shape=SHAPE, dtype="u1", chunks=SHAPE)
    (folder / "s.zarr" / "zarr.json").write_text("{")


def write_cut_h5(folder):
    write_h5(folder / "s.h5", {"a": draw_values(shape=(20, 20, 20))})
    cut(folder / "s.h5")


def write_two(folder):
    tifffile.imwrite(folder / "s.tif", draw_values())
    write_h5(folder / "s.h5", {"a": draw_values()})


PLANE = np.zeros((6, 7), np.uint8)
UNUSABLE = {
    "empty": (lambda f: (f / "s.tif").touch(), "an empty file (0 bytes)"),
    "text": (lambda f: (f / "s.tif").write_text("no image at all"), "damaged or truncated"),
    "flat": (lambda f: tifffile.imwrite(f / "s.tif", PLANE), "a 2-D image (6 x 7)"),
    "rgb": (
        lambda f: tifffile.imwrite(
            f / "s.tif", np.zeros((4, 6, 7, 3), np.uint8), photometric="rgb"
        ),
        "colour",
    ),
    "thin": (
        lambda f: tifffile.imwrite(
            f / "s.tif", np.zeros((4, 6, 1), np.uint8), photometric="minisblack"
        ),
        "one voxel thin along x",
    ),
    "cut plain": (lambda f: write_cut_tiff(f, None), "damaged or truncated"),
    "cut deflate": (lambda f: write_cut_tiff(f, "deflate"), "damaged or truncated"),
    "mixed pages": (write_mixed_pages, "different shape or type"),
    "mixed files": (
        lambda f: write_sections(f, [PLANE, PLANE[:, :5]]),
        "where the first (0.tif) has",
    ),
    "mixed types": (
        lambda f: write_sections(f, [PLANE, PLANE.astype(np.uint16)]),
        "where the first (0.tif) has",
    ),
    "rgb files": (
        lambda f: write_sections(f, [np.zeros((6, 7, 3), np.uint8)] * 2),
        "a colour image",
    ),
    "no files": (lambda f: (f / "s").mkdir(), "without TIFF or PNG"),
    "h5 empty": (lambda f: (f / "s.h5").touch(), "an empty file"),
    "h5 cut": (write_cut_h5, "damaged or truncated"),
    "h5 flat": (lambda f: write_h5(f / "s.h5", {"a": PLANE}), "a 2-D image"),
    "h5 text": (lambda f: write_h5(f / "s.h5", {"a": "nothing"}), "no volume"),
    "h5 thin": (lambda f: write_h5(f / "s.h5", {"a": PLANE[None]}), "one voxel thin along z"),
    "zarr metadata": (write_broken_zarr, "a store that cannot be read"),
    "zarr empty": (lambda f: zarr.create_group(f / "s.zarr"), "0 arrays that may be the volume"),
    "zarr zero": (
        lambda f: zarr.create_array(f / "s.zarr", shape=(0, 4, 4), dtype="u1", chunks=(1, 4, 4)),
        "an empty array",
    ),
    "complex": (
        lambda f: tifffile.imwrite(f / "s.tif", draw_values("<c8")),
        "of type complex64",
    ),
    "two": (write_two, "2 inputs for sample s: s.h5, s.tif"),
}


@pytest.mark.parametrize("case", UNUSABLE)
def test_what_is_refused(tmp_path, case):
    write, said = UNUSABLE[case]
    say(tmp_path)
    write(tmp_path)
    assert said in refusal(tmp_path)


def test_damage_found_while_reading_names_the_sections(tmp_path):
    say(tmp_path)
    write_sections(tmp_path, [PLANE] * 4)
    tomogram = load(tmp_path)["s"]
    (tmp_path / "s" / "2.tif").write_bytes(b"")
    with pytest.raises(TomogramError, match="sections 1 to 3 that cannot be read"):
        tomogram.read((slice(1, 4), slice(0, 2), slice(0, 2)))


def test_one_bad_sample_among_good_ones_is_set_aside(tmp_path):
    for name in ("a", "b", "c"):
        tifffile.imwrite(tmp_path / f"{name}.tif", draw_values())
    say(tmp_path, "a")
    say(tmp_path, "c")
    say(tmp_path, "d")
    (tmp_path / "notes.txt").write_text("mine")
    raw = load(tmp_path)
    assert list(raw) == ["a", "c"]
    reasons = dict(raw.rejected.to_numpy())
    assert set(reasons) == {"b.tif", "d.yml", "notes.txt"}
    assert "no voxel size" in reasons["b.tif"]
    assert list(load(tmp_path, samples=["c"])) == ["c"]
    with pytest.raises(DatasetError, match="found e, which"):
        load(tmp_path, samples=["e"])


def test_an_empty_or_missing_folder(tmp_path):
    with pytest.raises(DatasetError, match="found no tomogram"):
        load(tmp_path)
    with pytest.raises(DatasetError, match="no such folder"):
        load(tmp_path / "x")
    with pytest.raises(DatasetError, match="raw tomograms to be read only"):
        RawTomogramFolder(filepath=str(tmp_path)).save("x")


def test_fingerprint_follows_files_and_notes(tmp_path):
    tifffile.imwrite(tmp_path / "s.tif", draw_values())
    say(tmp_path)
    seen = [load(tmp_path)["s"].fingerprint]
    assert load(tmp_path)["s"].fingerprint == seen[0]
    os.utime(tmp_path / "s.tif", ns=(1, 1))
    assert load(tmp_path)["s"].fingerprint == seen[0]
    say(tmp_path, text="voxel_size_um: 3\ncycles: 1")
    seen.append(load(tmp_path)["s"].fingerprint)
    assert len(set(seen)) == 2


def test_png_sections_in_natural_order(tmp_path):
    cv2 = pytest.importorskip("cv2")
    values = draw_values("<u2", (11, 6, 7))
    (tmp_path / "s").mkdir()
    for z, section in enumerate(values):
        cv2.imwrite(str(tmp_path / "s" / f"slice_{z}.png"), section)
    say(tmp_path)
    check(tmp_path, values)


@pytest.mark.parametrize(
    ("file", "sample"),
    [("a.tif", "a"), ("a.ome.TIF", "a"), ("a.ome.zarr", "a"), ("a.b", "a.b"), ("a.1.h5", "a.1")],
)
def test_sample_names(file, sample):
    assert name_sample(Path(file)) == sample


@pytest.mark.parametrize(
    ("length", "unit", "um"),
    [(2, "mm", 2000), (50, b"nm", 0.05), (1, "µm", 1), (1, "\\u00B5m", 1), (1, "pixel", None),
     (1, None, None), (0, "um", None), (float("nan"), "um", None)],
)  # fmt: skip
def test_units(length, unit, um):
    assert convert_to_um(length, unit) == (None if um is None else pytest.approx(um))
