"""Every frame that was not used is counted where the user looks."""

import pandas as pd
import pytest

from ncm_kedro.errors import FrameError
from ncm_kedro.sem.audit.usage import describe_usage, require_classes, summarise_usage, warn_unused
from ncm_kedro.sem.io.frames import NOT_AN_IMAGE, summarise_problem
from ncm_kedro.sem.io.labels import NOT_UNDERSTOOD


def make_manifest(*rows):
    """`rows`: file, class, reason of exclusion or None."""
    table = pd.DataFrame(rows, columns=["file", "class", "exclusion_reason"])
    return table.assign(
        frame_id=table["file"],
        flags="",
        excluded=table["exclusion_reason"].notna(),
        session="s",
        mosaic="m",
    )


def make_rejected(*rows):
    """`rows`: file, class, kind."""
    table = pd.DataFrame(rows, columns=["file", "class", "kind"], dtype="str")
    return table.assign(
        folder=[file.rpartition("/")[0] for file in table["file"]],
        reason=table["kind"] + ". What to do: rename it",
    )


MANIFEST = make_manifest(
    ("NCM811/a.png", "811", None),
    ("811/b.png", "811", None),
    ("811/c.png", "811", "bare: 30%"),
    ("811/d.png", "811", "same pixels as 811/b"),
    ("622/e.png", "622", None),
)
REJECTED = make_rejected(
    ("622/f.png", "622", "no pixel size"),
    ("old/g.png", "", NOT_UNDERSTOOD),
    ("old/h.png", "", NOT_UNDERSTOOD),
    ("junk/i.png", "", NOT_UNDERSTOOD),
    ("811/notes.docx", "811", NOT_AN_IMAGE),
    ("523/notes.docx", "523", NOT_AN_IMAGE),
)


@pytest.fixture
def report():
    return describe_usage(MANIFEST, REJECTED)


def test_found_is_used_and_excluded_and_rejected(report):
    counts = report["frames"]
    assert (counts["found"], counts["kept"], counts["excluded"], counts["rejected"]) == (9, 3, 2, 4)
    assert counts["rejected_without_class"] == 3
    assert {name: n["found"] for name, n in counts["classes"].items()} == {"622": 2, "811": 4}
    assert "9 frames found, 3 used, 2 excluded, 4 rejected" in summarise_usage(report)[-1]


def test_every_reason_is_warned_of_with_its_count_and_folders(report):
    warnings = warn_unused(report)
    assert any("bare (1)" in text and "same pixels (1)" in text for text in warnings)
    assert any("old (2), junk (1)" in text and "rename it" in text for text in warnings)
    assert any("no pixel size" in text and "622/f.png" in text for text in warnings)
    assert any("523" in text and "no image" in text for text in warnings)
    assert len(warnings) == 4


def test_a_data_set_of_which_all_is_used_is_not_warned_of():
    manifest, rejected = make_manifest(("811/a.png", "811", None)), make_rejected()
    assert warn_unused(describe_usage(manifest, rejected)) == []


def test_folders_say_what_they_were_read_as():
    assert describe_usage(MANIFEST, REJECTED)["folders"][-1] == {
        "folder": "NCM811",
        "class": "811",
        "frames": 1,
    }


@pytest.mark.parametrize(
    ("manifest", "rejected"),
    [
        ([("811/a.png", "811", None)], [("NCM622/b.tif", "622", "no pixel size")] * 2),
        ([("811/a.png", "811", None), ("NCM622/b.png", "622", "bare: 9%")], []),
        (
            [("811/a.png", "811", None), ("NCM622/b.png", "622", "bare: 9%")],
            [("NCM622/b.tif", "622", "no pixel size")],
        ),
    ],
)
def test_a_class_that_lost_all_its_frames_ends_the_run_naming_the_folders(manifest, rejected):
    with pytest.raises(FrameError, match=r"^class 622: .*NCM622 \(\d\).*(bare|no pixel size)"):
        require_classes(describe_usage(make_manifest(*manifest), make_rejected(*rejected)))


def test_other_losses_do_not_end_it():
    require_classes(describe_usage(MANIFEST, REJECTED))


def test_the_kind_of_an_error_does_not_name_one_file():
    def kind(found):
        return summarise_problem(FrameError("a.png", found=found, expected="", action=""))

    assert kind("an image of 10 x 12 px (banner cut)") == kind("an image of 9 x 7 px (banner cut)")
    assert kind("12 bytes that are no image (they begin with b'ab(')") == (
        kind("99 bytes that are no image (they begin with b'cd')")
    )
    assert kind("an image that is damaged (OSError: 12)") == "an image that is damaged"
