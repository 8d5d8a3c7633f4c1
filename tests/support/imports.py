"""What a Python file imports, read from its text: every form of import that names its module in the text."""

import ast
from collections.abc import Iterator
from pathlib import Path

PACKAGE = "textbloom"


def imported_modules(file: Path, source: Path) -> set[str]:
    """Dotted names that `file` imports anywhere in its text; `source` is the folder that packages lie in.

    `from a import b` gives `a.b`, whether b is a module or a name inside it. A part of a name that is only known when
    the program runs is `*`: `import_module(f"textbloom.sources.{dataset}")` gives `textbloom.sources.*`.
    """
    package = ".".join(file.relative_to(source).parent.parts) if file.is_relative_to(source) else ""
    nodes = list(ast.walk(ast.parse(file.read_text(encoding="utf-8"))))
    functions = {"import_module", "__import__"}
    for node in nodes:
        if isinstance(node, ast.ImportFrom) and node.module == "importlib":
            functions |= {alias.asname for alias in node.names if alias.name == "import_module" and alias.asname}
    found: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = _absolute("." * node.level + (node.module or ""), package)
            found |= {f"{base}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Call) and _called(node) in functions:
            found.add(_absolute(_text(node, file), package))
    return found


def imported_files(file: Path, source: Path) -> set[Path]:
    """The files of the package that run when `file` is run, directly or through others, without `file` itself."""
    seen: set[Path] = set()
    waiting = [file]
    while waiting:
        for name in imported_modules(waiting.pop(), source):
            new = set(_files(name, source)) - seen
            seen |= new
            waiting += new
    return seen - {file}


def _absolute(name: str, package: str) -> str:
    level = len(name) - len(name.lstrip("."))
    if not level:
        return name
    above = package.split(".")[: len(package.split(".")) - level + 1]
    return ".".join([*above, name[level:]]).rstrip(".")


def _called(node: ast.Call) -> str:
    return node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")


def _text(node: ast.Call, file: Path) -> str:
    """The module that a call imports, where its text tells at least how the name begins."""
    argument = node.args[0] if node.args else None
    parts = argument.values if isinstance(argument, ast.JoinedStr) else [argument]
    text = "".join(str(part.value) if isinstance(part, ast.Constant) else "*" for part in parts)
    assert not text.startswith("*"), f"{file}:{node.lineno}: import by a literal or by an f-string that begins with one"
    return text


def _files(name: str, source: Path) -> Iterator[Path]:
    """The files that an import of `name` runs: those of the packages above it, and its own."""
    if name.split(".")[0] != PACKAGE:
        return
    folders = [source]
    for part in name.split("."):
        for folder in folders:
            yield from folder.glob(f"{part}.py")
        folders = [found for folder in folders for found in folder.glob(part) if found.is_dir()]
        for folder in folders:
            yield from folder.glob("__init__.py")
