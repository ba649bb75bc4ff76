"""Messages in a team's own words: Jinja2 templates, bounded in what they reach, how long they run and write.

A template is text by people who may err, filled with labels by anybody. Beside
Jinja2's sandbox, which guards attributes, the syntax itself is a short list: no
assignment, no macro, no call but a few methods of strings and mappings, no
multiplication; loops share a number of turns. So no template can run long or
fill the memory, and where one fails, the plain text goes out.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from sidecar.config.channels import NotifyTarget
from sidecar.errors import NotifyError
from sidecar.telemetry import get_logger

MAX_TITLE, MAX_TEXT = 250, 8000
MAX_TURNS = 1000
"""Turns of all loops of one rendering together."""

REFUSED = (
    *(
        "Assign",
        "AssignBlock",
        "Macro",
        "CallBlock",
        "FilterBlock",
        "Include",
        "Import",
        "FromImport",
        "Extends",
    ),
    *("Block", "With", "ScopedEvalContextModifier", "Mul", "Pow", "Mod", "FloorDiv"),
)
FILTERS = frozenset(
    (
        *("abs", "capitalize", "d", "default", "dictsort", "e", "escape", "first", "float", "int", "items"),
        *("join", "last", "length", "list", "lower", "max", "min", "replace", "reverse", "round", "sort"),
        *("string", "title", "trim", "truncate", "unique", "upper"),
    )
)
METHODS = frozenset(["endswith", "get", "items", "keys", "lower", "startswith", "strip", "upper", "values"])


class TemplateError(NotifyError):
    """A template that cannot be used; the message says why."""

    def __init__(self, message: str) -> None:
        super().__init__(message, retryable=False)


class Templates:
    """The templates of all targets."""

    def __init__(self, targets: Iterable[NotifyTarget]) -> None:
        self._sources = {
            target.name: target.template
            for target in targets
            if target.template.title is not None or target.template.text is not None
        }
        self._log = get_logger("templates")

    def apply(self, target: str, document: dict[str, Any]) -> dict[str, Any]:
        """The document with the target's own title and text; as it is where these cannot be made."""
        source = self._sources.get(target)
        if source is None:
            return document
        changed = dict(document)
        for field, template, longest in (("title", source.title, MAX_TITLE), ("text", source.text, MAX_TEXT)):
            if template is None:
                continue
            try:
                changed[field] = render(template, document, longest=longest)
            except TemplateError as error:
                self._log.warning("template not used, the plain text is sent", target=target, err=str(error))
        changed["title"] = " ".join(str(changed["title"]).split()) or document["title"]
        if not str(changed["text"]).strip():
            # Some targets refuse an empty text, and a message refused is an incident untold.
            changed["text"] = document["text"]
        return changed


def render(template: str, document: Mapping[str, Any], *, longest: int = MAX_TEXT) -> str:
    """The text that a template makes of a message's document, cut to `longest` characters.

    Raises: TemplateError for a template that is broken, uses what is not allowed, or runs too long.

    >>> render("{{ incident.priority }}: {{ title }}", {"title": "x", "incident": {"priority": "P1"}})
    'P1: x'
    """
    # Imported late: most installations have no templates.
    import jinja2
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    environment = ImmutableSandboxedEnvironment(autoescape=False, cache_size=0)
    environment.globals.clear()
    environment.filters = {name: environment.filters[name] for name in FILTERS}
    environment.filters |= {"join": _join, "replace": _replace, "counted": _Turns().count}
    try:
        compiled = environment.from_string(_checked(environment, template))
        pieces = []
        room = longest
        for piece in compiled.generate(**document):
            pieces.append(piece[: room + 1])
            room -= len(piece)
            if room < 0:
                break
    except jinja2.TemplateError as error:
        line = getattr(error, "lineno", None)
        raise TemplateError((f"line {line}: " if line else "") + str(error.message)) from error
    except (ArithmeticError, TypeError, ValueError, LookupError, AttributeError) as error:
        raise TemplateError(f"{type(error).__name__}: {error}") from error
    except (RecursionError, SyntaxError, MemoryError) as error:
        raise TemplateError("is nested too deeply") from error
    text = "".join(pieces)
    return text if len(text) <= longest else text[: longest - 1] + "…"


def _checked(environment: Any, template: str) -> Any:
    """The template's syntax tree, its loops counted.

    Raises: TemplateError where it uses what is not allowed.
    """
    from jinja2 import nodes

    tree = environment.parse(template)
    for node in tree.find_all(nodes.Node):
        kind = type(node).__name__
        if kind in REFUSED:
            raise TemplateError(f"line {node.lineno}: {kind} is not allowed in templates of messages")
        if isinstance(node, nodes.Filter) and node.name not in FILTERS:
            raise TemplateError(
                f"line {node.lineno}: no filter {node.name!r}; known: {', '.join(sorted(FILTERS))}"
            )
        if isinstance(node, nodes.Call) and not (
            isinstance(node.node, nodes.Getattr) and node.node.attr in METHODS
        ):
            raise TemplateError(f"line {node.lineno}: only these are called: {', '.join(sorted(METHODS))}")
    for loop in tree.find_all(nodes.For):
        if loop.recursive:
            raise TemplateError(f"line {loop.lineno}: recursive loops are not allowed")
        loop.iter = nodes.Filter(loop.iter, "counted", [], [], None, None, lineno=loop.lineno)
    return tree


class _Turns:
    """Turns that all loops of one rendering have left."""

    def __init__(self) -> None:
        self._left = MAX_TURNS

    def count(self, items: Iterable[Any]) -> Iterator[Any]:
        for item in items:
            self._left -= 1
            if self._left < 0:
                raise TemplateError(f"its loops take more than {MAX_TURNS} turns")
            yield item


def _join(items: Iterable[Any], separator: str = "") -> str:
    """As Jinja2's, but never of a text's letters and never longer than a message."""
    if isinstance(items, str):
        return items
    return str(separator)[:MAX_TITLE].join(str(item)[:MAX_TEXT] for item in items)[:MAX_TEXT]


def _replace(text: object, old: str, new: str) -> str:
    """As Jinja2's, but never longer than a message."""
    whole = str(text)[:MAX_TEXT]
    return whole.replace(str(old), str(new)[:MAX_TITLE], MAX_TEXT)[:MAX_TEXT] if old else whole
