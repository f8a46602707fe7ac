"""Reading YAML for people: safe tags only, no duplicate keys, and the line of every key."""

import re
from pathlib import Path
from typing import Any

import yaml

from ablate.errors import UserError

Where = tuple[str | int, ...]


class Loader(yaml.SafeLoader):
    """YAML 1.1's safe loader that also reads `1e-3` as the number it is."""


Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(?:\d[\d_]*\.?[\d_]*|\.\d[\d_]*)[eE][-+]?\d+$"),
    list("-+0123456789."),
)


class Document:
    """A parsed file: plain values, and the line on which each key stands."""

    def __init__(self, file: Path) -> None:
        """Read a file.

        Raises:
            UserError: the file is missing, is not YAML, repeats a key or has a tag that would run code.
        """
        self.file = file
        self.lines: dict[Where, int] = {}
        try:
            text = file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "not a text file"
            raise UserError(f"{file}: cannot be read: {reason}") from None
        loader = Loader(text)
        try:
            node = loader.get_single_node()
            self.value = None if node is None else self._plain(loader, node, ())
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            line = f":{mark.line + 1}" if mark else ""
            raise UserError(f"{file}{line}: is not safe YAML: {error.problem or error.context}") from None
        except yaml.YAMLError as error:
            raise UserError(f"{file}: is not YAML: {str(error).splitlines()[0]}") from None
        finally:
            loader.dispose()

    def error(self, where: Where, message: str) -> UserError:
        """Return an error about a key: file, line, key and message."""
        line = next((self.lines[where[:n]] for n in range(len(where), 0, -1) if where[:n] in self.lines), 1)
        key = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in where).lstrip(".")
        return UserError(f"{self.file}:{line}: {f'{key}: ' if key else ''}{message}")

    def _plain(self, loader: Loader, node: yaml.Node, where: Where) -> Any:
        self.lines.setdefault(where, node.start_mark.line + 1)
        if isinstance(node, yaml.SequenceNode) and node.tag == "tag:yaml.org,2002:seq":
            return [self._plain(loader, child, (*where, i)) for i, child in enumerate(node.value)]
        if isinstance(node, yaml.MappingNode) and node.tag == "tag:yaml.org,2002:map":
            plain: dict[str, Any] = {}
            for key_node, value_node in node.value:
                key = str(loader.construct_object(key_node, deep=True))
                inner = (*where, key)
                if key in plain:
                    first = self.lines[inner]
                    self.lines[inner] = key_node.start_mark.line + 1
                    raise self.error(inner, f"is given twice, first on line {first}")
                self.lines[inner] = key_node.start_mark.line + 1
                plain[key] = self._plain(loader, value_node, inner)
            return plain
        return loader.construct_object(node, deep=True)
