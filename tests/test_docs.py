"""The pages say what is: commands parse, paths exist, the file map is true."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.page_pairs import differences
from tidegate.cli import parse

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("benchmarks/*.md")])
README = (ROOT / "README.md").read_text(encoding="utf-8")
CHINESE_README = (ROOT / "README.zh-CN.md").read_text(encoding="utf-8")


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
    verb, *words = shlex.split(command.split(" > ")[0])[1:]
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


@pytest.mark.parametrize("readme", [README, CHINESE_README], ids=["English", "Chinese"])
def test_the_file_map_is_true(readme):
    """Every name in the README's map exists, and every module and package of src is in it."""
    block = re.search(r"```text\n(run .*?)```", readme, re.DOTALL)
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


def test_the_readme_in_chinese_says_what_the_one_in_english_says():
    """Headings, commands, figures, links, pictures and tables. What is in one alone is named, with its section."""
    found = differences(README, CHINESE_README)
    assert not found, "README.md and README.zh-CN.md differ:\n" + "\n".join(found)


CHANGES = [
    ("1.432 nat", "1.423 nat", "section 'What it reaches' ('实测结果'): numbers in English alone: 1.432"),
    ("--minutes 10 ", "--minutes 11 ", "section 'Quick start' ('快速开始'): fenced block 2: "),
    ("| RNN 推理 | 1.44 |", "| RNN 推理 | 1.44 | |", "rows of tables by cells in Chinese alone: 5"),
    ("docs/cells/lstm.md", "docs/cells/gru.md", "links in Chinese alone: docs/cells/gru.md"),
    ("pictures/curves.png", "pictures/curve.png", "pictures in English alone: docs/pictures/curves.png"),
    ("`--save-seconds`", "`--save-second`", "`code` in Chinese alone: --save-second"),
    ("\n## 实测结果", "\n### 实测结果", "## What it reaches in English, ### 实测结果 in Chinese"),
    ("recipes/                tiny", "recipe/                 tiny", "'recipes/' in English, 'recipe/' in Chinese"),
    ("日午当时尽", "日午当时近", "日午当时尽，才高方与谁。' in English"),
    ('.load("runs/my-novel")', '.load("runs/novel")', '.load("runs/novel")'),
]


@pytest.mark.parametrize(("was", "now", "wanted"), CHANGES, ids=[change[1].strip() for change in CHANGES])
def test_canary_what_changes_in_one_readme_alone_is_found(was, now, wanted):
    assert was in CHINESE_README
    found = differences(README, CHINESE_README.replace(was, now, 1))
    assert any(wanted in what for what in found), found


@pytest.mark.parametrize("recipe", sorted((ROOT / "recipes").glob("*.yaml")), ids=lambda p: p.name)
def test_recipes_parse_and_say_what_they_reach(recipe):
    tuned = {"new_tokens", "recipe"} & yaml.safe_load(recipe.read_text(encoding="utf-8")).keys()
    command = ("finetune", ["base-zh", "--config", str(recipe)]) if tuned else ("train", ["--config", str(recipe)])
    parse(*command)
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
