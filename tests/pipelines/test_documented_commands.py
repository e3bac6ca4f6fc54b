"""Every command in a block of the documentation is run, or is named here with what is checked."""

import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
import tomllib
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from conftest import PROJECT
from ncm_kedro.tomo.review import review

PAGES = [PROJECT / "README.md", PROJECT / "CONTRIBUTING.md", *sorted(PROJECT.glob("docs/**/*.md"))]
BIN = Path(sys.executable).parent
RUN = re.compile(
    r"kedro run .+|make demo|python -m ncm_kedro init \w+|python -c .+|cd \w+"
    r"|source \.venv/bin/activate|export \w+=\S+|echo .+ \| curl .+"
)
SERVE = re.compile(r"kedro viz run.*|mlflow ui .+|mlflow models serve .+")
MAKES_ITS_OWN_DATA = {"make demo", "kedro run --env demo --pipelines synthesise"}


def check_extras(command):
    names = re.search(r"\[(.+)\]", command)[1].split(",")
    with (PROJECT / "pyproject.toml").open("rb") as file:
        assert set(names) <= set(tomllib.load(file)["project"]["optional-dependencies"])


def check_extra_of_finite_elements(command):
    assert command.split()[-1] in (PROJECT / "pyproject.toml").read_text("utf-8")


def check_target(command):
    assert f"\n{command.removeprefix('make ')}:" in (PROJECT / "Makefile").read_text("utf-8")


def check_launcher(command):
    assert Path(command.split()[-1]).name == review.SCRIPT


def check_benchmark(command):
    words = shlex.split(command.replace("<", "'<").replace(">", ">'"))
    told = subprocess.run([sys.executable, *words[1:2], "--help"], cwd=PROJECT,
                          capture_output=True, text=True, check=True).stdout  # fmt: skip
    assert {word for word in words if word.startswith("--")} <= set(re.findall(r"--[a-z]+", told))


NOT_RUN = {
    # It is the suite that this test is part of.
    "make test": check_target,
    # 11 GB of downloads; each of their packages is in the environment that runs this test.
    'pip install "path/to/ncm_kedro[fe,holo]"': check_extras,
    "pip install ngsolve": check_extra_of_finite_elements,
    # A window of napari; what it does is tested under Xvfb in tests/tomo/test_review_project.py.
    "python data/08_reporting/tomo/review/<sample>/open_in_napari.py": check_launcher,
    # A real map of phases, which is the user's.
    "python benchmarks/particle_proof.py --poses 12 --ct <map of phases, a TIFF stack with 1 for "
    "particles>": check_benchmark,
}
"""Commands that no test runs: why, and what is checked of them instead."""


def list_blocks():
    """Commands by block, each block once; comments and line breaks within a command are gone."""
    blocks = {}
    for page in PAGES:
        for text in re.findall(r"```sh\n(.*?)```", page.read_text("utf-8"), re.DOTALL):
            joined = re.sub(r"(\\|(?<=\|))\n\s*", " ", re.sub(r"(^|\s+)# .*", "", text))
            commands = tuple(" ".join(line.split(" ")) for line in joined.splitlines() if line)
            blocks.setdefault(commands, page.relative_to(PROJECT).as_posix())
    return blocks


BLOCKS = list_blocks()
COMMANDS = [command for block in BLOCKS for command in block]
SERVERS = sorted({command for command in COMMANDS if SERVE.fullmatch(command)})
SCRIPTS = {
    block: page
    for block, page in BLOCKS.items()
    if not set(block) <= {*NOT_RUN, *SERVERS, *MAKES_ITS_OWN_DATA}
    and not any("models serve" in command for command in block)
}


def test_every_command_is_run_or_is_named_with_a_check():
    assert len(COMMANDS) > 40
    unknown = [
        command
        for command in COMMANDS
        if command not in NOT_RUN and not RUN.fullmatch(command) and not SERVE.fullmatch(command)
    ]
    assert unknown == []
    assert set(NOT_RUN) <= set(COMMANDS), "a command that is no longer documented"


@pytest.mark.parametrize("command", NOT_RUN)
def test_what_is_not_run_is_checked(command):
    NOT_RUN[command](command)


@pytest.fixture(scope="module")
def user(project):
    """A user's project whose settings are those of the tests, after the whole demo ran there."""
    for file in (PROJECT / "conf" / "test").iterdir():
        text = file.read_text("utf-8").replace("data/test", "data")
        text = re.sub(r"registry_prefix: .+", 'registry_prefix: ""', text)
        text = text.replace("models:/test-", "models:/")
        (project / "conf" / "local" / file.name).write_text(text, "utf-8")
    shutil.copytree(PROJECT / "benchmarks", project / "benchmarks")
    shutil.copy(PROJECT / "Makefile", project)
    shutil.copy(PROJECT / "requirements.txt", project)
    environment = project / ".venv"
    environment.mkdir()
    for name in ("bin", "lib", "pyvenv.cfg"):
        (environment / name).symlink_to(Path(sys.prefix) / name)
    (environment / ".ready").touch()
    ended = run_script(project, "kedro run --pipelines demo")
    assert ended.returncode == 0, ended.stdout[-3000:] + ended.stderr[-3000:]
    return project


def run_script(folder, script, **environment):
    return subprocess.run(
        ["bash", "-e", "-o", "pipefail", "-c", script],
        cwd=folder, env={**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}", **environment},
        capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("block", SCRIPTS, ids=[*SCRIPTS.values()])
def test_a_block_of_commands_runs(user, block):
    ended = run_script(user, "\n".join(line for line in block if line not in NOT_RUN))
    assert ended.returncode == 0, ended.stdout[-3000:] + ended.stderr[-3000:]


@pytest.mark.slow
@pytest.mark.parametrize("command", SERVERS)
def test_a_server_answers(user, command):
    """A model is served under the alias that it has, and asked as the same block asks."""
    block = next(block for block in BLOCKS if command in block)
    before, after = block[: block.index(command)], block[block.index(command) + 1 :]
    if "models serve" in command:
        command = command.replace("@production", "@candidate")
        port = re.search(r"-p (\d+)", command)[1]
        frame = next((user / "data" / "01_raw" / "sem_unseen").rglob("*.jpg"))
        shutil.copy(frame, user / "frame.jpg")
        asking = "\n".join(after)
    else:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = str(probe.getsockname()[1])
        command += f" --port {port}"
        before = ()
        asking = f"curl --fail http://127.0.0.1:{port}/"
    server = subprocess.Popen(
        ["bash", "-e", "-c", "\n".join((*before, command))],
        cwd=user, env={**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}", "BROWSER": "true"},
        start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        wait_for(port, server)
        answered = run_script(user, asking)
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait()
    assert answered.returncode == 0, answered.stderr
    if "models serve" in command:
        assert '"predicted"' in answered.stdout


def wait_for(port, server, patience_s=180.0):
    deadline = time.monotonic() + patience_s
    while True:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/"):
                return
        except urllib.error.HTTPError:
            return
        except OSError:
            assert server.poll() is None, "the server ended"
            assert time.monotonic() < deadline, "no answer"
            time.sleep(1.0)


@pytest.mark.slow
@pytest.mark.parametrize("command", sorted(MAKES_ITS_OWN_DATA, reverse=True))
def test_the_demo_makes_its_own_data_and_writes_the_pages_that_its_page_lists(user, command):
    ended = run_script(user, command)
    assert ended.returncode == 0, ended.stdout[-3000:] + ended.stderr[-3000:]
    assert any((user / "data" / "demo" / "01_raw" / "sem").iterdir())
    if command == "make demo":
        page = (PROJECT / "docs" / "start" / "demo.md").read_text("utf-8")
        written = re.findall(r"^\| `(data/demo/\S+\.html)`", page, re.MULTILINE)
        assert len(written) > 5
        assert [name for name in written if not (user / name).is_file()] == []
