"""What the documentation says can be typed: commands, settings, links, snippets."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from kedro.validation.parameter_validator import ParameterValidator

from ncm_kedro.pipeline_registry import register_pipelines

pytestmark = pytest.mark.filterwarnings("ignore:register_new_resolver:UserWarning")
PROJECT = Path(__file__).parents[1]
PAGES = [
    PROJECT / "README.md",
    PROJECT / "CONTRIBUTING.md",
    *sorted((PROJECT / "docs").rglob("*.md")),
]
TEMPLATES = sorted((PROJECT / "src" / "ncm_kedro" / "plotting" / "templates").glob("*.j2"))
NOTES = {"voxel_size_um", "focus_sample_mm", "limits"}
"""In notes beside a tomogram or a scan, and in an entry of the catalog."""
FREE = {"<name>", "<name>,<name>"}


def read_all(paths=(*PAGES, *TEMPLATES)):
    return {path: path.read_text(encoding="utf-8") for path in paths}


@pytest.fixture(scope="module")
def reference():
    spec = importlib.util.spec_from_file_location("reference", PROJECT / "docs/_hooks/reference.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_pipeline_that_is_named_in_a_command_is_registered():
    known = set(register_pipelines())
    named = {
        (path.name, name)
        for path, text in read_all().items()
        for names in re.findall(r"--pipelines? ([\w,<>]+)", text)
        if names not in FREE
        for name in names.split(",")
    }
    assert len(named) > 30
    assert {(page, name) for page, name in named if name not in known} == set()


def test_every_environment_and_target_that_is_named_in_a_command_exists():
    found: set[str] = set()
    targets = set(re.findall(r"^([\w-]+):", (PROJECT / "Makefile").read_text(), re.MULTILINE))
    for path, text in read_all().items():
        for name in re.findall(r"--env (\w+)", text):
            assert (PROJECT / "conf" / name).is_dir(), (path.name, name)
        typed = [
            *re.findall(r"```sh\n(.*?)```", text, re.DOTALL),
            *re.findall(r"`(make [^`]+)`", text),
        ]
        for name in re.findall(r"^make ([a-z][\w-]*)", "\n".join(typed), re.MULTILINE):
            assert name in targets, (path.name, name)
            found.add(name)
    assert {"demo", "test", "docs", "viz-static"} <= found


def test_every_command_of_kedro_and_mlflow_is_one():
    allowed = {"run", "viz run", "viz build", "catalog describe-datasets", "ui", "models serve"}
    for path, text in read_all(PAGES).items():
        for tool, words in re.findall(
            r"^(?:\.venv/bin/)?(kedro|mlflow) ([^-#\n]+)", text, re.MULTILINE
        ):
            assert words.strip() in allowed, (path.name, tool, words)


def test_links_outside_the_site_lead_to_files():
    for path in (PROJECT / "README.md", PROJECT / "CONTRIBUTING.md", PROJECT / "CHANGELOG.md"):
        for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", path.read_text(encoding="utf-8")):
            assert (PROJECT / link).exists(), (path.name, link)


def list_settings(text):
    """Settings that a page shows: fenced YAML, and what stands in one line of code."""
    blocks = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    blocks += re.findall(r"`(\w+: \{[^`]*\})`", text)
    return [yaml.safe_load(block) for block in blocks if "..." not in block]


def test_every_setting_that_is_shown_is_one(reference):
    configuration = reference.load_configuration()
    parameters, keys = configuration["parameters"], set(configuration["globals"])
    validator, shown = ParameterValidator(register_pipelines()), 0
    within = {
        part
        for model in reference.find_models().values()
        for key, *_ in reference.list_fields(model, None)
        for part in key.split(".")
    }  # a part of a setting may be shown alone

    def merge(old, new):
        both = isinstance(old, dict) and isinstance(new, dict)
        return {**old, **{k: merge(old.get(k), v) for k, v in new.items()}} if both else new

    for path, text in read_all(PAGES).items():
        for block in list_settings(text):
            if set(block) <= keys:
                shown += 1
            elif set(block) <= set(parameters):
                validator.validate_raw_params(merge(parameters, block))
                shown += 1
            else:
                assert set(block) <= within or set(block) & NOTES, (path.name, block)
    assert shown > 5


def test_the_reference_holds_every_parameter_with_its_meaning(reference):
    values, models = reference.load_configuration()["parameters"], reference.find_models()
    rows = {
        f"{name}.{key}": rest
        for name, model in models.items()
        for key, *rest in reference.list_fields(model, reference._look_up(values, name))
    }
    assert len(rows) > 300
    assert [name for name, (*_, meaning) in rows.items() if not meaning] == []
    assert rows["crop_augment.size_px"][:2] == ["`300`", "int, ≥ 16, ≤ 4096"]
    assert rows["tune_train.train.model"][0] == "`tf_efficientnet_b7`"


def test_the_reference_lists_every_pipeline_and_step(reference):
    page = reference.write_pipelines()
    for name, made in reference.list_pipelines().items():
        assert f"## {name}\n" in page
        assert all(f"`{output}`" in page for node in made.nodes for output in node.outputs)


def test_the_reference_says_where_each_data_set_lies(reference):
    page = reference.write_datasets()
    assert "| `sem_crops` | ParquetDataset | `data/05_model_input/sem_crops.parquet` |" in page
    assert "/08_reporting/sem/report.html" in page


@pytest.mark.slow
def test_the_site_builds_without_a_warning_and_fetches_nothing(tmp_path):
    built = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "-d", str(tmp_path)],
        cwd=PROJECT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert built.returncode == 0, built.stderr[-3000:]
    for page in tmp_path.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        assert re.findall(r"""<(?:script|link|img)[^>]+(?:src|href)=["']?https?:""", text) == []
        assert "arithmatex" not in text, f"{page.name}: a formula is shown as its source"
        assert re.findall(r"\$[^$\n]*\\[a-z]+", text) == []
    assert "<math" in (tmp_path / "half_cell.html").read_text("utf-8")
    assert "crop_augment" in (tmp_path / "reference" / "parameters.html").read_text(
        encoding="utf-8"
    )
