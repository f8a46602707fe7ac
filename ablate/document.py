"""YAML files with the line of every key, for error messages; safe tags only, no duplicate keys."""

import re
from pathlib import Path
from typing import Any

import yaml

from ablate.errors import UserError

KeyPath = tuple[str | int, ...]  # the keys and indices that lead to a value


class Loader(yaml.SafeLoader):
    """A safe loader with the scalars of YAML 1.2 and without aliases.

    `1e-3` is a number, `010` is ten, `no` and `on` are text, and a small file cannot expand to a large value.
    """

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """Compose a node; refuse aliases."""
        if self.check_event(yaml.AliasEvent):
            event = self.peek_event()  # type: ignore[no-untyped-call]
            raise yaml.composer.ComposerError(None, None, f"alias *{event.anchor} is not supported", event.start_mark)
        return super().compose_node(parent, index)


FLOAT = r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)"
for tag, pattern, first in (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?[0-9]+", list("-+0123456789")),
    ("float", FLOAT, list("-+.0123456789")),
):
    Loader.add_implicit_resolver(f"tag:yaml.org,2002:{tag}", re.compile(f"^(?:{pattern})$"), first)
Loader.add_constructor("tag:yaml.org,2002:int", lambda loader, node: int(str(node.value)))


class Document:
    """A parsed YAML file: its plain values, and the line of each key."""

    def __init__(self, file: Path) -> None:
        """Read a file.

        Raises:
            UserError: the file cannot be read, is not YAML, repeats a key or has a tag that would run code.
        """
        self.file = file
        self.lines: dict[KeyPath, int] = {}
        try:
            loader = Loader(file.read_text(encoding="utf-8"))
            node = loader.get_single_node()
            self.value: Any = None if node is None else self._plain(loader, node, ())
        except OSError as error:
            raise UserError(f"{file}: cannot be read: {error.strerror}") from None
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            line = f":{mark.line + 1}" if mark else ""
            raise UserError(f"{file}{line}: is not safe YAML: {error.problem or error.context}") from None
        except RecursionError:
            raise UserError(f"{file}: is nested too deeply") from None
        except (yaml.YAMLError, ValueError) as error:
            raise UserError(f"{file}: is not YAML: {str(error).splitlines()[0]}") from None

    def error(self, where: KeyPath, message: str) -> UserError:
        """Return an error with file, line, key and message."""
        line = next((self.lines[where[:n]] for n in range(len(where), -1, -1) if where[:n] in self.lines), 1)
        key = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in where).lstrip(".")
        return UserError(f"{self.file}:{line}: {f'{key}: ' if key else ''}{message}")

    def _plain(self, loader: Loader, node: yaml.Node, where: KeyPath) -> Any:
        self.lines.setdefault(where, node.start_mark.line + 1)
        if isinstance(node, yaml.SequenceNode) and node.tag == "tag:yaml.org,2002:seq":
            return [self._plain(loader, child, (*where, i)) for i, child in enumerate(node.value)]
        if isinstance(node, yaml.MappingNode) and node.tag == "tag:yaml.org,2002:map":
            plain: dict[str, Any] = {}
            for key_node, value_node in node.value:
                line = key_node.start_mark.line + 1
                if not isinstance(key_node, yaml.ScalarNode):
                    raise UserError(f"{self.file}:{line}: a key must be text")
                key = str(key_node.value)
                inner = (*where, key)
                if key in plain:
                    first, self.lines[inner] = self.lines[inner], line
                    raise self.error(inner, f"is given twice, first on line {first}")
                self.lines[inner] = line
                plain[key] = self._plain(loader, value_node, inner)
            return plain
        return loader.construct_object(node, deep=True)
