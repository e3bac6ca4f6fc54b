"""The contract of a table by the name of its data set, for the patterns of the catalog."""

from ncm_kedro.contracts.cycling import CyclingBadRows as cycling_bad_rows
from ncm_kedro.contracts.cycling import CyclingCells as cycling_cells
from ncm_kedro.contracts.cycling import CyclingCurves as cycling_curves
from ncm_kedro.contracts.cycling import CyclingCycles as cycling_cycles
from ncm_kedro.contracts.cycling import CyclingFiles as cycling_files
from ncm_kedro.contracts.sem import SemCropPredictions as sem_baseline_predictions
from ncm_kedro.contracts.sem import SemOODPredictions as sem_ood_predictions
from ncm_kedro.contracts.sem import SemTestPredictions as sem_test_predictions

__all__ = [
    "cycling_bad_rows",
    "cycling_cells",
    "cycling_curves",
    "cycling_cycles",
    "cycling_files",
    "sem_baseline_predictions",
    "sem_ood_predictions",
    "sem_test_predictions",
]
