"""Lineage: hashes follow content and names, commits are told, parameters come one by one."""

import subprocess

import pytest

from ncm_kedro.hooks import _hash_input, describe_commit, hash_path


def test_hash_follows_content_and_name_but_not_time(tmp_path):
    folder = tmp_path / "frames"
    (folder / "333").mkdir(parents=True)
    frame = folder / "333" / "a.jpg"
    frame.write_bytes(b"one")
    first = hash_path(folder)
    frame.touch()
    assert hash_path(folder) == first
    frame.rename(folder / "333" / "b.jpg")
    renamed = hash_path(folder)
    (folder / "333" / "b.jpg").write_bytes(b"two")
    assert len({first, renamed, hash_path(folder)}) == 3


def test_hash_of_a_single_file_is_taken(tmp_path):
    file = tmp_path / "x.bin"
    file.write_bytes(b"1")
    before = hash_path(file)
    file.write_bytes(b"2")
    assert hash_path(file) != before


@pytest.fixture
def checkout(tmp_path):
    def git(*arguments):
        identity = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
        subprocess.run(["git", *identity, *arguments], cwd=tmp_path, check=True)

    git("init", "-q")
    (tmp_path / "a.txt").write_text("a")
    git("add", "a.txt")
    git("commit", "-q", "-m", "first")
    return tmp_path


def test_commit_and_changes_are_told(checkout):
    clean = describe_commit(checkout)
    assert len(clean["git_commit"]) == 40
    assert clean["git_changed"] == "no"
    (checkout / "a.txt").write_text("b")
    assert describe_commit(checkout)["git_changed"] == "yes"


def test_no_checkout_is_said(tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert describe_commit(tmp_path) == {"git_commit": "not a git checkout"}


def test_volumes_are_hashed_by_what_they_say_of_themselves():
    class Known:
        def content_hash(self):
            return "abc"

    catalog = {"tomograms": Known()}
    assert _hash_input(catalog, "tomograms") == "abc"
    assert _hash_input(catalog, "params:x") is None
