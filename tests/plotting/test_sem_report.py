"""The SEM page reports results, missing pipelines with their command, and source runs."""

import re

import pytest
from page_text import list_captions, list_headings, list_warnings, read_text
from sem_page_cases import RUN_IDS, make_further, make_pipeline_results, make_record

from ncm_kedro.plotting.sem.report import OPTIONAL_RESULTS, PIPELINE_RESULTS, render_sem_report
from ncm_kedro.provenance import UNKNOWN, cite_run, list_runs

ABSENT = {
    "sem_explain_figure_errors": "sem_explain",
    "sem_attention_report": "sem_explain",
    "sem_transfer_report": "sem_transfer",
    "additive_report": "evaluate_additives",
    "survey_summary": "expert_survey",
    "sem_study_reports": "sem_studies",
}
PIPELINE_FIGURES = [name for name in PIPELINE_RESULTS if "figure" in name]


@pytest.fixture(scope="module")
def everything():
    return make_pipeline_results() | make_further()


@pytest.fixture(scope="module")
def records(everything):
    names = [name for name in everything if not name.startswith("sem_study")]
    known = {name: make_record(name) for name in names}
    for name in ("sem_study_reports", "sem_study_figures"):
        known[f"{name}/split"] = make_record(f"{name}/split", run_id=RUN_IDS[name])
    return known


def test_a_page_with_everything_holds_the_numbers_and_no_command(everything, records):
    page = render_sem_report(everything, records)
    for number in (
        "0.777 (0.677 to 0.877)",
        "0.555",
        "0.876",
        "0.812",
        "0.943",
        "0.081",
        "0.891",
        "0.4321"[:4],
    ):
        assert number in page
    assert "not promoted: does not beat the baseline" in page
    assert "kedro run" not in page
    assert UNKNOWN not in page


def test_every_table_and_figure_ends_with_the_run_that_made_it(everything, records):
    captions = list_captions(render_sem_report(everything, records))
    cited = [caption for caption in captions if caption != "Source run of each result"]
    assert len(cited) > 25
    for caption in cited:
        assert re.search(
            r"\[run a00000\w\w, a_pipeline, 2026-11-21 19:00 UTC, commit c{7}\]$", caption
        )


@pytest.mark.parametrize(
    ("caption", "name"),
    [
        ("Confusion matrix", "sem_test_figure_confusion"),
        ("Errors: crop, Grad-CAM", "sem_explain_figure_errors"),
        ("Scores on held-out data, beside", "sem_transfer_figure_scores"),
        ("Accuracy over all conditions", "additive_report"),
        ("Split ", "sem_study_figures"),
    ],
)
def test_the_run_beside_a_figure_is_its_own(everything, records, caption, name):
    captions = list_captions(render_sem_report(everything, records))
    assert [RUN_IDS[name][:8] in text for text in captions if text.startswith(caption)] == [True]


def test_a_page_of_the_pipeline_alone_says_what_would_make_the_rest():
    page = render_sem_report(make_pipeline_results() | dict.fromkeys(OPTIONAL_RESULTS), {})
    for pipeline in ABSENT.values():
        assert f"kedro run --pipelines {pipeline},sem_report" in page
    assert len(re.findall(r"<img ", page)) == len(PIPELINE_FIGURES)
    assert "not measured" in page
    assert all(caption.endswith(f"[{UNKNOWN}]") for caption in list_captions(page)[:-1])


@pytest.mark.parametrize("name", ABSENT)
def test_what_is_absent_is_told_with_its_command(everything, records, name):
    page = render_sem_report(everything | {name: None}, records)
    assert re.findall(r"--pipelines (\w+),sem_report", page) == [ABSENT[name]]


def test_no_search_and_no_frames_of_other_material_are_stated():
    results = make_pipeline_results()
    results["sem_trials"] = results["sem_trials"].iloc[:0]
    flag = results["sem_test_report"]["flag"] | {"auroc": None}
    results["sem_test_report"] = results["sem_test_report"] | {"flag": flag}
    page = render_sem_report(results, {})
    assert "The search was off" in page
    assert "Trials of the search" not in page
    assert "detection by the flag was not evaluated" in read_text(page)
    assert "not measured; false alarms" in page


@pytest.mark.parametrize(("auroc", "warned"), [(0.3, True), (0.97, False)])
def test_a_score_that_misses_other_material_may_not_be_relied_on(everything, auroc, warned):
    report = everything["sem_test_report"]
    flag = report["flag"] | {"auroc": {"score": {"value": auroc, "low": None, "high": None}}}
    page = render_sem_report(everything | {"sem_test_report": report | {"flag": flag}}, {})
    first_screen = page[: page.index("<nav")]
    assert ("material unlike the classes" in first_screen) == warned


def test_a_leaking_split_is_warned_of():
    results = make_pipeline_results()
    sound = list_warnings(render_sem_report(results, {}))
    results["sem_test_report"] = results["sem_test_report"] | {"leaking": True}
    (line,) = set(list_warnings(render_sem_report(results, {}))) - set(sound)
    assert "by file" in line


def test_failed_trials_say_why_in_short():
    results = make_pipeline_results()
    assert 1 < render_sem_report(results, {}).count("it crashed") < 10
    results["sem_trials"] = results["sem_trials"].assign(error=None)
    assert "<th>error</th>" not in render_sem_report(results, {})


def test_errors_are_listed_the_most_confident_first():
    page = render_sem_report(make_pipeline_results(), {})
    assert "1 of 3 test crops are classified wrongly" in page
    row = re.search(r"<td>c2</td>(.*?)</tr>", page, re.DOTALL).group(1)
    assert "0.654" in row
    assert "0.346" in row


def test_results_older_than_what_they_go_with_are_told(everything, records):
    name = "sem_attention_report"
    old = records | {name: make_record(name, at="2026-11-20T08:00:00+00:00")}
    warning = "Made before the present sem_test_report"
    assert warning in read_text(render_sem_report(everything, old))
    assert warning not in render_sem_report(everything, records)
    same = {"run_id": "one"}
    made = make_record(name, at="2026-11-20T08:00:00+00:00", **same)
    beside = make_record("sem_test_report", **same)
    one_run = records | {name: made, "sem_test_report": beside}
    assert warning not in render_sem_report(everything, one_run)


def test_names_of_classes_are_escaped_and_nothing_is_fetched(everything, records):
    page = render_sem_report(everything, records)
    assert "<script>" not in page
    assert "811&lt;script&gt;" in page
    assert re.findall(r"(?:src|href)=\"(?!data:|#)", page) == []
    assert "http" not in page


def test_a_study_shows_its_answer_its_scores_and_what_was_not_run(everything, records):
    page = render_sem_report(everything, records).partition("Study: Split</h2>")[2]
    assert "0.2 of it. [run" in read_text(page)
    assert page.count("<td>by area</td>") == 1
    assert "0.679 (0.600 to 0.700)" in page
    assert "<td>by file</td>" not in page
    assert "Not run: by file: no frames" in read_text(page)


def test_a_study_that_was_not_run_says_so_once(everything, records):
    gap = {"point": "every point", "skipped": "one voltage only"}
    study = {
        "title": "Voltage", "question": "Does it matter?", "notes": ["a caveat"],
        "answer": "Not run: one voltage only.", "rows": [gap],
        "skipped": [{"point": "every point", "reason": "one voltage only"}],
    }  # fmt: skip
    studies = {**everything["sem_study_reports"], "voltage": study}
    pictures = {**everything["sem_study_figures"], "voltage": b"png"}
    changed = {**everything, "sem_study_reports": studies, "sem_study_figures": pictures}
    page = render_sem_report(changed, records).partition("Study: Voltage</h2>")[2]
    section = page.partition("<h2")[0]
    assert section.count("one voltage only") == 1
    assert "a caveat" not in section
    assert "<img" not in section


def test_contents_link_to_every_section(everything, records):
    page = render_sem_report(everything, records)
    links = dict(re.findall(r'<a href="#(section-\d+)">(.*?)</a>', page))
    heads = dict(re.findall(r'<h2 id="(section-\d+)">(.*?)</h2>', page))
    assert links == heads
    assert list(heads.values()) == list_headings(page)
    assert heads["section-12"] == "12 Study: Split"


def test_a_run_is_cited_in_a_few_words():
    record = make_record("sem_audit", git_changed=True)
    assert cite_run(record) == (
        "run a0000001, a_pipeline, 2026-11-21 19:00 UTC, commit ccccccc + changes"
    )
    alone = make_record("x", run_id=None, git_commit="not a git checkout")
    assert cite_run(alone) == "untracked run, a_pipeline, 2026-11-21 19:00 UTC, not a git checkout"
    assert cite_run(None) == UNKNOWN
    rows = list_runs({"a": None, "b": record})
    assert [row["MLflow run"] for row in rows] == [UNKNOWN, "a0000001ffff"]
    assert rows[0].keys() == rows[1].keys()
