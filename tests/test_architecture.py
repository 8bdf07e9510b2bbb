"""The house's rules, read from the source: who may import whom, what is never imported, how long a file may be."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "tidegate"
MODULES = sorted(SOURCE.rglob("*.py"))

LAYERS = {
    "errors": 0, "arguments": 0, "cpus": 0, "files": 0.5, "json_files": 1, "packages": 0.5, "config": 1, "native": 1,
    "theory": 2, "text": 2,
    "folder": 3,
    "runtime": 4, "nn": 4,
    "models": 5,
    "training": 6,
    "tuning": 2, "labelling": 2, "state_dict": 2,
    "train": 7, "finetune": 7, "merge": 7, "import_model": 7, "prepare": 7, "evaluate": 7, "generate": 7, "chat": 7,
    "classify": 7, "embed": 7, "tag": 7, "runs": 7,
    "gradcheck": 7, "doctor": 7,
    "quick_flags": 8, "flags": 8, "estimator": 8,
    "evaluation_config": 2, "command_table": 8, "cli": 9, "__main__": 10, "__init__": 0,
}  # fmt: skip
TORCH_FREE = (
    "errors",
    "arguments",
    "files",
    "json_files",
    "packages",
    "config",
    "theory",
    "text",
    "folder",
    "runtime",
    "flags",
    "cli",
    "generate",
    "chat",
    "merge",
    "import_model",
    "state_dict",
    "tuning",
    "labelling",
    "classify",
    "embed",
    "tag",
    "runs",
    "gradcheck",
    "doctor",
    "native",
    "cpus",
    "quick_flags",
    "__init__",
)
FORBIDDEN = ("pickle", "cPickle", "dill", "joblib", "marshal", "shelve")


def room(path: Path) -> str:
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def imports(path: Path) -> set[str]:
    """All modules that a file imports, wherever in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found |= {node.module or ""} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def test_every_room_has_its_layer():
    assert {room(path) for path in MODULES} <= set(LAYERS)


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(SOURCE)))
def test_imports_point_downwards(path):
    mine = room(path)
    for name in imports(path):
        parts = name.split(".")
        if parts[0] == "tidegate" and len(parts) > 1 and parts[1] in LAYERS and parts[1] != mine:
            assert LAYERS[parts[1]] < LAYERS[mine], f"{mine} imports {name}"


@pytest.mark.parametrize(
    "path", [p for p in MODULES if room(p) in TORCH_FREE], ids=lambda p: str(p.relative_to(SOURCE))
)
def test_the_running_half_never_imports_torch(path):
    assert not any(name.split(".")[0] == "torch" for name in imports(path))


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(SOURCE)))
def test_nothing_that_runs_code_from_data(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert not {name.split(".")[0] for name in imports(path)} & set(FORBIDDEN)
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            assert called not in ("eval", "exec", "torch.load", "torch.save", "np.load") or _no_pickle(node), (
                f"{path}: {called}"
            )


def _no_pickle(call: ast.Call) -> bool:
    """``np.load(…, allow_pickle=False)`` is safe."""
    return ast.unparse(call.func) == "np.load" and any(
        k.arg == "allow_pickle" and isinstance(k.value, ast.Constant) and k.value.value is False for k in call.keywords
    )


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(SOURCE)))
def test_files_and_functions_stay_short(path):
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 400
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            assert (node.end_lineno or 0) - node.lineno < 60, f"{path}: {node.name}"


def test_importing_the_package_imports_nothing_heavy():
    heavy = "numpy", "torch", "rich", "jsonargparse"
    code = f"import sys, tidegate; print([m for m in {heavy} if m in sys.modules])"
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
    )


def test_what_reads_runs_without_torch_imports_none():
    """These rooms lie among those of the training, but generate and runs use them."""
    rooms = ("comparison_picture", "curves", "events", "record", "run_folder", "summary", "waiting")
    names = ", ".join(["tidegate.runs", "tidegate.generate", *(f"tidegate.training.{room}" for room in rooms)])
    code = f"import sys, {names}; print('torch' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.strip() == "False"


def test_the_command_line_imports_no_torch_for_help():
    code = (
        "import sys; from tidegate.cli import main, parse; main(['--help']);"
        "parse('train', []); parse('generate', ['x']); print('torch' in sys.modules)"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.splitlines()[-1] == "False"
