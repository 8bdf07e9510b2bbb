"""How many threads may be used, by what the environment, the control group and the affinity say."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from tidegate import cpus, native
from tidegate.cli import VERBS, main, parse
from tidegate.nn.threads import use_threads


@pytest.fixture
def plenty(monkeypatch, tmp_path):
    """A machine of eight CPUs, without limits; its folder of control groups."""
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    monkeypatch.setattr(cpus, "CGROUPS", tmp_path)
    (tmp_path / "job").mkdir()
    monkeypatch.setattr(cpus, "_groups", lambda: [tmp_path / "job"])
    return tmp_path


@pytest.mark.parametrize(
    ("asked", "threads"),
    [
        ("1", 1), ("3", 3), ("2,1", 2), (" 2 ", 2), ("007", 7), ("8", 8), ("9", 8), ("99999999999", 8), ("9" * 5000, 8),
        ("", 8), ("0", 8), ("00", 8), ("-1", 8), ("²", 8), ("２", 8), ("two", 8), ("1.5", 8), (",2", 8), ("1e1", 8),
    ],
)  # fmt: skip
def test_omp_num_threads(plenty, monkeypatch, asked, threads):
    monkeypatch.setenv("OMP_NUM_THREADS", asked)
    assert cpus.default_limit().threads == threads
    assert (cpus.default_limit().reason == "OMP_NUM_THREADS") is (threads < 8)


@pytest.mark.parametrize("asked", ["0", "-1", "²", "two", ",2", "1.5", "x" * 10_000])
def test_what_is_no_number_of_threads_is_warned_of(plenty, monkeypatch, asked):
    monkeypatch.setenv("OMP_NUM_THREADS", asked)
    warning = cpus.asked_warning()
    assert warning is not None
    assert warning.startswith("OMP_NUM_THREADS is ")
    assert len(warning) < 200


@pytest.mark.parametrize("asked", [None, "", "2", "2,1", "99999999999"])
def test_a_number_of_threads_is_not_warned_of(plenty, monkeypatch, asked):
    if asked is not None:
        monkeypatch.setenv("OMP_NUM_THREADS", asked)
    assert cpus.asked_warning() is None


def test_affinity(plenty, monkeypatch):
    assert cpus.default_limit() == (8, "CPUs of the machine")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3, 5}, raising=False)
    assert cpus.default_limit() == (2, "CPU affinity")


@pytest.mark.parametrize(
    ("content", "threads"),
    [
        ("max 100000", 8), ("250000 100000", 2), ("50000 100000", 1), ("100000 100000", 1), ("1200000 100000", 8),
        ("", 8), ("a b", 8), ("1", 8), ("100000 0", 8), ("-1 100000", 8), ("\x00", 8),
    ],
)  # fmt: skip
def test_quota_of_version_2(plenty, content, threads):
    (plenty / "job" / "cpu.max").write_text(content)
    assert cpus.default_limit().threads == threads
    assert (cpus.default_limit().reason == "CPU quota of the control group") is (threads < 8)


def test_the_smallest_quota_above_counts(plenty):
    (plenty / "job" / "cpu.max").write_text("400000 100000")
    (plenty / "cpu.max").write_text("300000 100000")
    (plenty.parent / "cpu.max").write_text("100000 100000")  # outside
    assert cpus.default_limit().threads == 3


def test_quota_of_version_1(plenty):
    (plenty / "job" / "cpu.cfs_quota_us").write_text("300000\n")
    (plenty / "job" / "cpu.cfs_period_us").write_text("100000\n")
    assert cpus.default_limit().threads == 3
    (plenty / "job" / "cpu.cfs_quota_us").write_text("-1\n")
    assert cpus.default_limit().threads == 8


def test_the_groups_of_a_process(monkeypatch, tmp_path):
    monkeypatch.setattr(cpus, "CGROUPS", tmp_path)
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "cpu" / "c").mkdir(parents=True)
    read = Path.read_text
    lines = "0::/a/b\n4:cpu,cpuacct:/c\n5:memory:/d\n6:cpuset:/e\nbroken\n7:cpu:/not/here\n"
    monkeypatch.setattr(Path, "read_text", lambda path, **k: lines if path.name == "cgroup" else read(path, **k))
    assert cpus._groups() == [tmp_path / "a/b", tmp_path / "cpu/c", tmp_path / "cpu"]


def test_the_least_counts(plenty, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    (plenty / "job" / "cpu.max").write_text("400000 100000")
    assert cpus.default_limit().threads == 4
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0}, raising=False)
    assert cpus.default_limit().threads == 1


# ---- --threads -------------------------------------------------------------------------------------------------------

COMPUTE = ("train", "finetune", "generate", "chat", "classify", "tag", "embed", "evaluate")


def settings_of(name, *words):
    given = [] if VERBS[name].positional is None else ["model"]
    return next(part for part in parse(name, [*given, *words]) if hasattr(part, "threads"))


@pytest.mark.parametrize("name", COMPUTE)
def test_every_command_that_computes_has_the_flag(name, capsys):
    assert settings_of(name).threads is None
    assert settings_of(name, "--threads", "3").threads == 3
    assert main([name, *(["model"] if VERBS[name].positional else []), "--threads", "0"]) == 2
    assert "threads" in capsys.readouterr().err


def test_what_the_core_is_told():
    native.use_threads(3)
    assert (native.threads(), native.team(), native.team(2)) == (3, -3, -3)
    native.use_threads(3, exact=True)
    assert (native.threads(), native.team(), native.team(2)) == (3, 3, 3)
    native.use_threads(None)
    assert (native.team(), native.team(5)) == (-native.default_threads(), -5)


@pytest.mark.parametrize("there", [True, False])
def test_what_pytorch_is_told(plenty, monkeypatch, there):
    """By default it has one thread beside the core, which may use all; alone it has its own number, within bounds."""
    monkeypatch.setattr(native, "core", lambda: object() if there else None)
    torch.set_num_threads(2)
    use_threads(None)
    assert (torch.get_num_threads(), native.team(1)) == (1 if there else 2, -8)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    torch.set_num_threads(2)
    use_threads(None)
    assert (torch.get_num_threads(), native.threads()) == (1, 1)
    use_threads(2)
    assert (torch.get_num_threads(), native.team(1)) == (2, -2)
