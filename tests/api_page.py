"""``python tests/api_page.py``: pipeline/API.md, the page of all public names, from their docstrings."""

from __future__ import annotations

import ast
import dataclasses
import importlib
import inspect
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from docstring_parser import Docstring, DocstringStyle, parse

PAGE = Path(__file__).parents[1] / "pipeline" / "API.md"
HEADER = """\
# API: the public names

Made from the docstrings by `make api`; a test holds it up to date. Each name is loaded when it is first used. Other
names are internal: they may change from one version to the next.
"""


def api_page() -> str:
    """The whole page."""
    parts = [HEADER]
    for package in ("features", "pipeline"):
        module = importlib.import_module(package)
        parts.append(f"## from {package} import …\n")
        parts += [_entry(name, getattr(module, name)) for name in module.__all__]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(parts))


def _entry(name: str, found: Any) -> str:
    source = Path(inspect.getsourcefile(found) or "").resolve().relative_to(PAGE.parents[1])
    lines = [f"### `{name}`\n", f"{_signature(name, found)}\nIn [`{source}`](../{source}).\n"]
    lines += _documented(inspect.getdoc(found) or "")
    if inspect.isclass(found):
        fields = [f"- `{field}`: {_inline(text)}" for field, text in _documented_fields(found)]
        lines += ["**Fields**\n", *fields, ""] if fields else []
        for method, function in _methods(found):
            lines.append(f"#### `{name}.{method}`\n\n{_signature(method, function)}")
            lines += _documented(inspect.getdoc(function) or "")
    return "\n".join(lines)


def _signature(name: str, found: Any) -> str:
    """How it is called, an argument a line where one line is too short; nothing for a property."""
    if isinstance(found, property) or dataclasses.is_dataclass(found):
        return ""
    signature = inspect.signature(found)
    arguments, kinds = [], [p.kind for p in signature.parameters.values()]
    for parameter in signature.parameters.values():
        if parameter.kind is parameter.KEYWORD_ONLY and parameter.KEYWORD_ONLY not in kinds[: len(arguments)]:
            arguments.append("*")
        arguments.append(_argument(parameter))
    back = signature.return_annotation
    end = ")" if back is signature.empty or inspect.isclass(found) else f") -> {_annotation(back)}"
    line = f"{name}({', '.join(arguments)}{end}"
    if len(line) > 100:
        line = f"{name}(\n" + "".join(f"    {argument},\n" for argument in arguments) + end
    return f"```py\n{line}\n```\n"


def _argument(parameter: inspect.Parameter) -> str:
    text = {parameter.VAR_POSITIONAL: "*", parameter.VAR_KEYWORD: "**"}.get(parameter.kind, "") + parameter.name
    if parameter.annotation is not parameter.empty:
        text += f": {_annotation(parameter.annotation)}"
    return text if parameter.default is parameter.empty else f"{text} = {parameter.default!r}"


def _annotation(annotation: Any) -> str:
    text = annotation if isinstance(annotation, str) else getattr(annotation, "__name__", str(annotation))
    return re.sub(r"\b(?:[a-z_]\w*\.)+(\w+)", r"\1", text)


def _documented(text: str) -> list[str]:
    parsed: Docstring = parse(text, style=DocstringStyle.GOOGLE)
    lines = [_paragraphs(part) for part in (parsed.short_description, parsed.long_description) if part]
    for title, kind in (("Arguments", "param"), ("Attributes", "attribute")):
        items = [p for p in parsed.params if p.args[0] == kind]
        if items:
            lines += [f"**{title}**\n", *(f"- `{p.arg_name}`: {_inline(p.description or '')}" for p in items), ""]
    if parsed.returns is not None and parsed.returns.description:
        lines += [f"**Returns** {_inline(parsed.returns.description)}\n"]
    if parsed.raises:
        lines += ["**Raises**\n", *(f"- `{r.type_name}`: {_inline(r.description or '')}" for r in parsed.raises), ""]
    return lines


def _documented_fields(found: type) -> Iterator[tuple[str, str]]:
    """Fields of a dataclass with the text behind each, those of its bases first."""
    for base in reversed(found.__mro__):
        if not base.__module__.startswith(("features", "pipeline")):
            continue
        body = ast.parse(textwrap.dedent(inspect.getsource(base))).body[0]
        assert isinstance(body, ast.ClassDef)
        for field, behind in zip(body.body, body.body[1:], strict=False):
            if isinstance(field, ast.AnnAssign) and isinstance(behind, ast.Expr):
                assert isinstance(field.target, ast.Name)
                yield field.target.id, inspect.cleandoc(ast.literal_eval(behind.value))


def _methods(found: type) -> Iterator[tuple[str, Any]]:
    """Public methods and properties that have a docstring, of the class itself."""
    for name, member in vars(found).items():
        function = member.__func__ if isinstance(member, classmethod | staticmethod) else member
        is_public = not name.startswith("_") and (inspect.isfunction(function) or isinstance(function, property))
        if is_public and inspect.getdoc(function):
            yield name, function


def _paragraphs(text: str) -> str:
    """Text as Markdown; indented lines are commands."""
    return (
        re.sub(r"((?:^ +.*\n?)+)", lambda lines: f"```text\n{lines[0].rstrip()}\n```\n", _plain(text), flags=re.M)
        + "\n"
    )


def _inline(text: str) -> str:
    return " ".join(_plain(text).split())


def _plain(text: str) -> str:
    """Sphinx's roles and double quotes as Markdown's."""
    return re.sub(r":\w+:`~?(?:[\w.]+\.)?(\w+)`", r"`\1`", text).replace("``", "`")


if __name__ == "__main__":
    PAGE.write_text(api_page(), encoding="utf-8")
    print(f"{PAGE}: the public names")
