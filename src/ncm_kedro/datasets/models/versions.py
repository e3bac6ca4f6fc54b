"""Registered models: the base of their data sets, versions and aliases."""

from __future__ import annotations

import logging
import re
import tempfile
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, ClassVar, Generic, NoReturn, TypeVar

import mlflow
import pandas as pd
from filelock import FileLock
from kedro.io import AbstractDataset
from mlflow.exceptions import MlflowException
from mlflow.models import ModelSignature
from mlflow.tracking import MlflowClient
from mlflow.types import ColSpec, Schema
from mlflow.types.schema import AnyType

from ncm_kedro.datasets.models.card import write_card
from ncm_kedro.datasets.models.relocation import find_database, relocate_artifacts
from ncm_kedro.datasets.previews import HTMLPreview
from ncm_kedro.errors import ModelError
from ncm_kedro.learning.evaluation.promotion import Promotion
from ncm_kedro.params.base import ServingLimits

logger = logging.getLogger(__name__)

S = TypeVar("S")
L = TypeVar("L")

CANDIDATE, PRODUCTION = "candidate", "production"
MODEL_ARTIFACT = "model"
PACKAGE_ROOT = Path(__file__).parents[2]
SERVING_SCRIPT = Path(__file__).with_name("serving.py")
_SERVING_REQUIREMENTS = ("mlflow", "numpy", "pandas", "pydantic", "scipy")
_VERSION_URI = re.compile(r"models:/(?P<name>[^/@]+)(?:@(?P<alias>.+)|/(?P<number>\d+))")


@dataclass(frozen=True)
class Release(Generic[S]):
    """A model on its way into the registry.

    Attributes
    ----------
    model
        What is registered.
    promotion
        Whether it may take over production, and why.
    metrics
        Scores by name.
    tags
        Lineage by name.
    example
        Rows of a request: the input example.
    trained_on
        Data that it was trained on, in a sentence.
    scores
        A line per score, with its interval, for the model card.
    """

    model: S
    promotion: Promotion
    metrics: dict[str, float]
    tags: dict[str, str]
    example: pd.DataFrame
    trained_on: str = ""
    scores: tuple[str, ...] = ()


class RegisteredModelDataset(AbstractDataset[Release[S], L], Generic[S, L]):
    """Saves a release as a new version of a registered model, loads the one behind a URI.

    Parameters
    ----------
    model_name
        Name in the registry.
    model_uri
        What is loaded; the production version by default. A ``runs:/`` or ``models:/`` URI or a
        local folder.
    limits
        What the served model takes in one request, where it differs from the defaults.
    metadata
        For plug-ins, not used here.
    """

    kind: ClassVar[str]
    """Name of its predictor in `datasets.models.serving`."""
    expected: ClassVar[str]
    """What is looked for, in words."""
    action: ClassVar[str]
    """What to do where there is none; ``{name}`` is the model's."""
    cannot: ClassVar[tuple[str, ...]]
    """What may not be expected of it, for the model card."""
    requirements: ClassVar[tuple[str, ...]]
    """Distributions that the served model needs beside those of all."""
    without_registry: ClassVar[str] = ""
    """What can be done while the registry does not answer."""
    default_limits: ClassVar[ServingLimits] = ServingLimits()

    def __init__(
        self,
        *,
        model_name: str,
        model_uri: str | None = None,
        limits: dict[str, Any] | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> None:
        self._model_name = model_name
        self._model_uri = model_uri or f"models:/{model_name}@{PRODUCTION}"
        self._limits = ServingLimits(**(self.default_limits.model_dump() | (limits or {})))
        self.metadata = metadata

    def save(self, data: Release[S]) -> None:
        """Log and register the model; move the aliases that it has earned."""
        needed = sorted({*_SERVING_REQUIREMENTS, *self.requirements})
        with tempfile.TemporaryDirectory() as folder:
            self._write(data.model, Path(folder))
            info = mlflow.pyfunc.log_model(
                name=self._model_name,
                python_model=str(SERVING_SCRIPT),
                artifacts={MODEL_ARTIFACT: folder},
                code_paths=[str(PACKAGE_ROOT)],
                signature=self._describe_signature(data.model),
                input_example=data.example,
                registered_model_name=self._model_name,
                pip_requirements=[f"{name}=={version(name)}" for name in needed],
                model_config={"kind": self.kind, **self._limits.model_dump()},
                metadata=data.tags,
            )
        number = str(info.registered_model_version)
        tag_version(
            self._model_name,
            number,
            promotion=data.promotion,
            tags=data.tags,
            metrics=data.metrics,
        )
        card = write_card(
            trained_on=data.trained_on,
            scores=data.scores,
            promotion=data.promotion,
            cannot=self.cannot,
            tags=data.tags,
        )
        MlflowClient().update_model_version(self._model_name, number, description=card)

    def load(self) -> L:
        """Return the model behind the URI.

        Raises
        ------
        ModelError
            If there is no such version, the registry does not answer, or its files are missing.
        """
        uri = self._model_uri
        is_there, number = self._find()
        if not is_there:
            self._refuse("no such version in the registry")
        try:
            folder = Path(mlflow.artifacts.download_artifacts(artifact_uri=uri))
        except Exception as error:
            if number is None and says_none_there(error):
                self._refuse(f"no such model ({error})")
            raise ModelError(
                uri,
                found=f"files that cannot be read ({type(error).__name__}: {error})",
                expected="the files of the registered version",
                action="move them back to where they were, or register the model again: "
                + self.action.format(name=self._model_name),
            ) from error
        return self._read(folder, number)

    def preview(self, tracking_uri: str) -> HTMLPreview:
        """Return the model card of the version that is loaded, else of the candidate.

        Parameters
        ----------
        tracking_uri
            Of the registry: kedro-viz loads no hooks, so MLflow does not know it.
        """
        database = find_database(tracking_uri)
        if database is not None and not database.is_file():
            return HTMLPreview("")
        match = _VERSION_URI.fullmatch(self._model_uri)
        client = MlflowClient(registry_uri=tracking_uri)
        versions = client.search_model_versions(f"name = '{self._model_name}'")
        aliases = client.get_registered_model(self._model_name).aliases if versions else {}
        wanted = match and (match["number"] or aliases.get(match["alias"]))
        number = str(wanted or aliases.get(CANDIDATE))
        cards = {str(found.version): found.description for found in versions}
        borne = ", ".join(alias for alias, bearer in aliases.items() if str(bearer) == number)
        title = f"### {self._model_name}, version {number} ({borne})"
        return HTMLPreview(f"{title}\n{cards[number]}" if number in cards else "")

    def _refuse(self, found: str) -> NoReturn:
        raise ModelError(
            self._model_uri,
            found=found,
            expected=self.expected,
            action=self.action.format(name=self._model_name),
        )

    def _exists(self) -> bool:
        return self._find()[0]

    def _find(self) -> tuple[bool, str | None]:
        return find_version(self._model_uri, self.without_registry)

    def _describe(self) -> dict[str, Any]:
        return {"model_name": self._model_name, "model_uri": self._model_uri}

    @abstractmethod
    def _write(self, model: S, folder: Path) -> None: ...

    @abstractmethod
    def _read(self, folder: Path, number: str | None) -> L: ...

    @abstractmethod
    def _describe_signature(self, model: S) -> ModelSignature: ...


def make_signature(inputs: list[str], outputs: list[ColSpec]) -> ModelSignature:
    """Return a signature whose inputs MLflow passes on as they are.

    A type that MLflow enforces would reject all rows for one cell; the model itself answers each
    bad row with its problem.
    """
    return ModelSignature(
        inputs=Schema([ColSpec(AnyType(), name, required=False) for name in inputs]),
        outputs=Schema(outputs),
    )


def find_version(uri: str, or_else: str = "") -> tuple[bool, str | None]:
    """Look a model up in the registry.

    Parameters
    ----------
    uri
        ``models:/name@alias``, ``models:/name/number``, or anything else that is not a registered
        version.
    or_else
        What else can be done where the registry does not answer.

    Returns
    -------
    is_there
        False only where the registry says that there is no such model, version or alias.
    number
        Of the version; None for another kind of URI.

    Raises
    ------
    ModelError
        If the registry does not answer.
    """
    match = _VERSION_URI.fullmatch(uri)
    if match is None:
        return True, None
    try:
        relocate_artifacts(mlflow.get_registry_uri())
        client = MlflowClient()
        if match["alias"]:
            found = client.get_model_version_by_alias(match["name"], match["alias"])
        else:
            found = client.get_model_version(match["name"], match["number"])
    except Exception as error:
        if says_none_there(error):
            return False, None
        raise ModelError(
            uri,
            found=f"a registry that does not answer ({type(error).__name__}: {error})",
            expected=f"the registry at {mlflow.get_registry_uri()}",
            action=f"start it or correct `tracking_uri` in conf/local/globals.yml{or_else}",
        ) from error
    return True, str(found.version)


def says_none_there(error: Exception) -> bool:
    """Tell a model or an alias that is not in the registry from a registry in trouble."""
    if not isinstance(error, MlflowException):
        return False
    no_alias = error.error_code == "INVALID_PARAMETER_VALUE" and "alias" in str(error)
    return error.error_code == "RESOURCE_DOES_NOT_EXIST" or no_alias


def tag_version(
    model_name: str,
    number: str,
    *,
    promotion: Promotion,
    tags: Mapping[str, str],
    metrics: Mapping[str, float],
) -> None:
    """Tag a version with its lineage and scores; make it the candidate, or production, too.

    Production is taken only from the version that the promotion compared with: of two runs that
    promote at once one wins, and the other says so.

    Parameters
    ----------
    model_name, number
        Which version.
    promotion
        Whether it may take over production, and why.
    tags, metrics
        Lineage and scores by name.
    """
    client = MlflowClient()
    with _lock_aliases(model_name):
        client.set_registered_model_alias(model_name, CANDIDATE, number)
        promoted, reasons = promotion.promoted, list(promotion.reasons)
        taken_by = _find_other_winner(model_name, number, promotion) if promoted else None
        if taken_by is not None:
            promoted = False
            reasons.append(
                f"not promoted after all: version {taken_by} went into production while this one "
                "was evaluated; run the training's evaluation again to compare with it"
            )
        marks = {
            **tags,
            **{name: f"{value:.4f}" for name, value in metrics.items()},
            "promoted": str(promoted).lower(),
            "promotion_reasons": "; ".join(reasons),
        }
        for comparison in promotion.comparisons:
            marks[f"minus_{comparison.reference.replace(' ', '_')}"] = comparison.interval
        for key, value in marks.items():
            client.set_model_version_tag(model_name, number, key, value)
        if promoted:
            client.set_registered_model_alias(model_name, PRODUCTION, number)
    taken = " and production" if promoted else ", not promoted"
    level = logging.INFO if taken_by is None else logging.WARNING
    logger.log(level, "%s version %s: candidate%s (%s)", model_name, number, taken, marks[
        "promotion_reasons"])  # fmt: skip


def _find_other_winner(model_name: str, number: str, promotion: Promotion) -> str | None:
    """Return the production version that this promotion knows nothing of, if there is one."""
    _, current = find_version(f"models:/{model_name}@{PRODUCTION}")
    if current is None:
        return None
    if promotion.compared_with_production:
        return current if current != promotion.replaces else None
    return current if int(current) > int(number) else None


@contextmanager
def _lock_aliases(model_name: str) -> Iterator[None]:
    """One process at a time, where the registry is a database on this machine."""
    database = find_database(mlflow.get_registry_uri())
    if database is None:
        yield
        return
    with FileLock(database.with_name(f".{model_name}.aliases.lock")):
        yield
