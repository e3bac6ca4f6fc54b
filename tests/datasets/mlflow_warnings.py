"""What MLflow warns of while it logs, loads and serves models."""

import pytest

WITH_MLFLOW = [
    pytest.mark.filterwarnings(f"ignore{kind}")
    for kind in (
        ":.*:UserWarning", "::DeprecationWarning", "::FutureWarning", "::ResourceWarning",
        "::pytest.PytestUnraisableExceptionWarning",
    )
]  # fmt: skip
