"""What the site adds to its pages: tables made from the code, and formulas as MathML.

A page holds ``<!-- pipelines -->``, ``<!-- parameters -->`` or ``<!-- datasets -->`` where its
tables go. Browsers show MathML by themselves, without a script to fetch.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
import typing
from collections.abc import Iterable, Iterator, Mapping
from html import unescape
from pathlib import Path
from typing import Any

from kedro.config import OmegaConfigLoader
from kedro.pipeline import Pipeline
from kedro.validation.type_extractor import TypeExtractor
from latex2mathml.converter import convert as latex_to_mathml
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

PROJECT = Path(__file__).parents[2]
SIGNS = (("gt", ">"), ("ge", "≥"), ("lt", "<"), ("le", "≤"), ("min_length", "items ≥"))
FORMULA = re.compile(
    r'<(?P<tag>span|div) class="arithmatex">\\[(\[](?P<tex>.+?)\\[)\]]</(?P=tag)>', re.DOTALL
)
GROUPS = ("sem", "tomo", "demo", "__default__")


def on_config(config: Any) -> None:
    """Append pages of pipelines that the navigation does not name yet; MkDocs calls it once."""
    named = str(config.nav)
    pages = sorted(path.name for path in Path(config.docs_dir).glob("*.md"))
    section = next(part["Pipelines"] for part in config.nav if "Pipelines" in part)
    section.extend(page for page in pages if page not in named)


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Fill the places of a page; MkDocs calls it for each."""
    for place, write in PLACES.items():
        if place in markdown:
            markdown = markdown.replace(place, write())
    return markdown


def on_page_content(html: str, **_: Any) -> str:
    """Make MathML of the formulas of a page; MkDocs calls it for each."""
    return FORMULA.sub(
        lambda found: latex_to_mathml(
            unescape(found["tex"]), display="block" if found["tag"] == "div" else "inline"
        ),
        html,
    )


def list_pipelines() -> dict[str, Pipeline]:
    """Return the single pipelines by name, as they are registered."""
    from ncm_kedro.pipeline_registry import register_pipelines

    return {name: made for name, made in register_pipelines().items() if name not in GROUPS}


def write_pipelines() -> str:
    """Write what each pipeline does, reads and saves."""
    parts = []
    for name, made in list_pipelines().items():
        module = importlib.import_module(f"ncm_kedro.pipelines.{_find_package(name)}")
        about = (module.__doc__ or "").strip().split("\n\n")[0].replace("\n", " ")
        reads = sorted(each for each in made.inputs() if not each.startswith("param"))
        rows = [
            f"| {_summarise(node.func.__doc__)} | {_name_all(node.outputs)} |"
            for node in made.nodes
        ]
        parts += [
            f"## {name}", "", about, "", f"`kedro run --pipelines {name}`", "",
            f"Reads {_name_all(reads) or 'parameters alone'}.", "",
            "| step | saves |", "|---|---|", *rows, "",
        ]  # fmt: skip
    return "\n".join(parts)


def write_parameters() -> str:
    """Write every parameter of every pipeline: its default, range and meaning."""
    parts: list[str] = []
    seen: dict[type[BaseModel], str] = {}
    values = load_configuration()["parameters"]
    for name, model in sorted(find_models().items()):
        parts += [f"## {name}", ""]
        if model in seen:
            parts += [f"As [{seen[model]}](#{seen[model].replace('.', '')}).", ""]
            continue
        seen[model] = name
        parts += [_summarise(model.__doc__), "", "| key | default | type | meaning |"]
        parts += ["|---|---|---|---|"]
        parts += [
            f"| {' | '.join((f'`{key}`', *rest))} |"
            for key, *rest in list_fields(model, _look_up(values, name))
        ]
        parts.append("")
    return "\n".join(parts)


def write_datasets() -> str:
    """Write where every data set of the catalog lies, and what kind it is."""
    rows = ["| data set | kind | place | layer |", "|---|---|---|---|"]
    for name, entry in sorted(load_configuration()["catalog"].items()):
        layer = entry.get("metadata", {}).get("kedro-viz", {}).get("layer", "")
        inner = _unwrap(entry)
        places = (inner.get(key) for key in ("filepath", "path", "model_name", "model_uri"))
        place = next((f"`{found}`" for found in places if found), "the run in MLflow")
        rows.append(f"| `{name}` | {inner['type'].rsplit('.', 1)[-1]} | {place} | {layer} |")
    return "\n".join(rows)


def find_models() -> dict[str, type[BaseModel]]:
    """Return the model that each ``params:`` input is turned into, as Kedro finds them."""
    required = TypeExtractor(list_pipelines()).extract_types_from_pipelines()
    models = {name: _find_model(kind) for name, kind in required.items()}
    return {name: model for name, model in models.items() if model is not None}


def list_fields(
    model: type[BaseModel], values: Any, prefix: str = ""
) -> Iterator[tuple[str, str, str, str]]:
    """List key, default as configured, type with its limits, and meaning; of inner models too."""
    for name, field in model.model_fields.items():
        default = field.get_default(call_default_factory=True)
        if isinstance(values, Mapping) and name in values:
            default = values[name]
        inner = _find_model(field.annotation)
        if inner is None:
            kind = _in_cell(", ".join([_name_type(field.annotation), *_list_limits(field)]))
            yield f"{prefix}{name}", _show(default), kind, _in_cell(field.description or "")
            continue
        nested = default.model_dump() if isinstance(default, BaseModel) else default
        yield from list_fields(inner, nested, f"{prefix}{name}.")


def load_configuration() -> OmegaConfigLoader:
    """Return the configuration of ``conf/base``."""
    from ncm_kedro.settings import CONFIG_LOADER_ARGS

    return OmegaConfigLoader(str(PROJECT / "conf"), env="base", **CONFIG_LOADER_ARGS)


def _find_package(pipeline: str) -> str:
    """Return the package that makes a pipeline: that of its name, or of the start of its name."""
    from ncm_kedro import pipelines

    packages = [module.name for module in pkgutil.iter_modules(pipelines.__path__)]
    return max((name for name in packages if pipeline.startswith(name)), key=len)


def _unwrap(entry: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the data set inside wrappers; a folder of files stands for them."""
    inner = entry.get("dataset")
    return _unwrap(inner) if isinstance(inner, Mapping) and "path" not in entry else entry


def _find_model(annotation: Any) -> type[BaseModel] | None:
    """Return the model of a hint, also of ``Model | None``."""
    for kind in (annotation, *typing.get_args(annotation)):
        if inspect.isclass(kind) and issubclass(kind, BaseModel):
            return kind
    return None


def _name_type(annotation: Any) -> str:
    if typing.get_origin(annotation) is typing.Literal:
        return " or ".join(f"`{value}`" for value in typing.get_args(annotation))
    text = annotation.__name__ if inspect.isclass(annotation) and not typing.get_args(
        annotation) else str(annotation)  # fmt: skip
    return text.replace("typing.", "").replace("ncm_kedro.params.", "")


def _list_limits(field: FieldInfo) -> list[str]:
    limits = ((getattr(each, key, None), sign) for each in field.metadata for key, sign in SIGNS)
    return [f"{sign} {limit}" for limit, sign in limits if limit is not None]


def _look_up(values: Any, path: str) -> Any:
    for key in path.split("."):
        values = values.get(key) if isinstance(values, Mapping) else None
    return values


def _show(value: Any) -> str:
    if value is PydanticUndefined:
        return "none: give one"
    return f"`{_in_cell('null' if value is None else str(value))}`"


def _in_cell(text: str) -> str:
    return " ".join(text.replace("``", "`").split()).replace("|", "\\|").replace("<", "&lt;")


def _summarise(docstring: str | None) -> str:
    return _in_cell((docstring or "").strip().split("\n\n")[0])


def _name_all(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


PLACES = {
    "<!-- pipelines -->": write_pipelines,
    "<!-- parameters -->": write_parameters,
    "<!-- datasets -->": write_datasets,
}
