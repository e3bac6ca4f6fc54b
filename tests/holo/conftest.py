"""A small phantom scan, held in memory, and targets to reconstruct it into."""

import pytest
from phantom_scans import SMALL, make_scan, open_target

from ncm_kedro.holo.survey import survey_scan
from ncm_kedro.params.holo import HoloComputeParams, HoloParams


@pytest.fixture(scope="session")
def small_scan():
    return make_scan(SMALL)


@pytest.fixture(scope="session")
def surveyed(small_scan, tmp_path_factory):
    """Scratch of the small scan after its survey, which is the same for all that follows."""
    work = tmp_path_factory.mktemp("surveyed")
    survey_scan(small_scan, HoloParams(), HoloComputeParams(workers=1, device="cpu"), work)
    return work


@pytest.fixture
def target(tmp_path):
    return lambda plan, edge=32: open_target(tmp_path, plan, edge)
