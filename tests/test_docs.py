"""The pages say what is: commands parse, paths exist, the file map is true."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tidegate.cli import parse

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("benchmarks/*.md")])
README = (ROOT / "README.md").read_text(encoding="utf-8")


def commands() -> list[str]:
    """Every `tidegate …` command that a fenced block of a page shows."""
    found = []
    for page in PAGES:
        for block in re.findall(r"```sh\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL):
            found += [line.split(" #")[0].strip() for line in block.splitlines() if line.startswith("tidegate ")]
    return found


def test_there_are_commands():
    assert len(commands()) >= 5


@pytest.mark.parametrize("command", commands())
def test_commands_parse(command):
    verb, *words = shlex.split(command)[1:]
    if "--help" not in words:
        parse(verb, words)


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_and_pictures_are_there(page):
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
        if "://" not in target:
            assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_paths_that_are_named_exist(page):
    """A path in backticks that names a file of the project must be one."""
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    for path in re.findall(r"`((?:src|tests|docs|benchmarks|recipes|examples)/[\w./-]+)`", text):
        assert (ROOT / path).exists(), path


def test_the_file_map_is_true():
    """Every name in the README's map exists, and every module and package of src is in it."""
    block = re.search(r"## The house\n\n```text\n(.*?)```", README, re.DOTALL)
    assert block
    named, folder = set(), ROOT
    for line in block[1].splitlines():
        names = re.split(r" {2,}", line.strip())[0].split()
        if names[0].endswith(".py"):
            names += [n for n in re.split(r" {2,}", line.strip())[1:] if n.endswith(".py")]
        names = [n for part in names for n in part.split()]
        if not line.startswith(" "):
            folder = ROOT
        for name in names:
            assert (folder / name).exists(), name
            named.add(str((folder / name).relative_to(ROOT)))
        if names == ["src/tidegate/"]:
            folder = ROOT / "src/tidegate"
    for path in (ROOT / "src/tidegate").iterdir():
        if not path.name.startswith("__") and path.name != "py.typed":
            assert str(path.relative_to(ROOT)) in named, f"{path.name} is not in the README's map"


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_nothing_is_left_to_fill_in(page):
    assert not re.search(r"(?m)@[A-Z]{3,}|^[A-Z]{4,}$|TODO|FIXME", page.read_text(encoding="utf-8"))


@pytest.mark.parametrize("recipe", sorted((ROOT / "recipes").glob("*.yaml")), ids=lambda p: p.name)
def test_recipes_parse_and_say_what_they_reach(recipe):
    parse("train", ["--config", str(recipe)])
    assert re.search(r"must reach about \d+\.\d+ nats", recipe.read_text(encoding="utf-8"))
    assert yaml.safe_load(recipe.read_text(encoding="utf-8"))


def test_the_front_script_is_short_and_posix():
    script = ROOT / "run"
    assert len(script.read_text().splitlines()) <= 60
    subprocess.run(["sh", "-n", str(script)], check=True)
    said = subprocess.run([str(script), "nonsense"], capture_output=True, text=True)
    assert said.returncode == 2
    assert "./run setup" in said.stderr


def test_the_package_version_is_one():
    import tidegate

    assert f'version = "{tidegate.__version__}"' in (ROOT / "pyproject.toml").read_text()
    said = subprocess.run([sys.executable, "-m", "tidegate", "--version"], capture_output=True, text=True, check=True)
    assert said.stdout == f"tidegate {tidegate.__version__}\n"
