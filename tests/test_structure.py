"""The rules of the house that a program can check: layers, banned calls, light imports."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "speechssl"
FILES = sorted(PACKAGE.rglob("*.py"))

LEVELS = {
    **dict.fromkeys(["errors", "files", "__init__"], 0),
    **dict.fromkeys(["config", "audio", "metrics", "npy"], 1),
    **dict.fromkeys(["data", "nn"], 2),
    **dict.fromkeys(["quantizers", "phones"], 3),
    **dict.fromkeys(["encoders", "decoders", "vocoders"], 4),
    **dict.fromkeys(["objectives", "convert", "codecs"], 5),
    "recognition": 6,
    "units": 7,  # above convert: a unit model finds its encoder in any readable format; a normaliser is a recogniser
    **dict.fromkeys(["training", "extract", "report", "generation"], 8),
    **dict.fromkeys(["api", "cli", "__main__"], 9),
}
BANNED_CALLS = {"eval", "exec", "os.system", "os.popen", "yaml.load", "marshal.loads"} | {
    "pickle.load",
    "pickle.loads",
    "pickle.Unpickler",
    "joblib.load",
    "torch.load",
}
BANNED_KEYWORDS = {"allow_pickle": True, "shell": True}


def unit(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported_units(tree: ast.AST) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
            assert node.level == 0, "imports are absolute"
    ours = (name.split(".") for name in names if name.startswith("speechssl."))
    return {parts[1] for parts in ours if parts[1] in LEVELS}


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_point_down_only(path: Path) -> None:
    own = unit(path)
    for other in imported_units(ast.parse(path.read_text())):
        allowed = other == own or LEVELS[other] < LEVELS[own] or {own, other} <= {"api", "cli", "__main__"}
        assert allowed, f"{path.name} (level {LEVELS[own]}) imports {other} (level {LEVELS[other]})"


def test_encoder_families_do_not_import_each_other() -> None:
    for path in (PACKAGE / "encoders").glob("*.py"):
        if path.stem in {"__init__", "pretrained"}:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("speechssl.encoders."):
                raise AssertionError(f"{path.name} imports {node.module}")


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_nothing_executes_from_data(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            assert name not in BANNED_CALLS, f"line {node.lineno}: {name}"
            for keyword in node.keywords:
                value = getattr(keyword.value, "value", None)
                assert keyword.arg not in BANNED_KEYWORDS or value is False, (
                    f"line {node.lineno}: {keyword.arg}={value}"
                )


@pytest.mark.parametrize("command", ["import speechssl", "import speechssl.cli as c; c.build_parser()"])
def test_import_and_help_load_nothing_heavy(command: str) -> None:
    heavy = "{'torch', 'numpy', 'transformers', 'faiss', 'soundfile', 'fairseq2', 'msgspec'}"
    code = f"import sys; {command}; found = {heavy} & set(sys.modules); assert not found, found"
    subprocess.run([sys.executable, "-c", code], check=True)
