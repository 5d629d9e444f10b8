"""YAML files in which every key stands once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml


class _Strict(yaml.SafeLoader):
    """YAML's own rule, which the library does not hold: of two equal keys neither is meant."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[tuple[str, str]] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if (key.tag, key.value) in seen:
                    problem = f"the key {key.value!r} stands here twice"
                    raise yaml.constructor.ConstructorError(None, None, problem, key.start_mark)
                seen.add((key.tag, key.value))
        return super().construct_mapping(node, deep)


def read_yaml(path: Path) -> Any:
    """Read a YAML file; what is in it is data, never code.

    Raises
    ------
    OSError, UnicodeDecodeError
        If the file cannot be read.
    yaml.YAMLError
        If it is not YAML or a key stands twice in one place.
    """
    return yaml.load(path.read_text(encoding="utf-8-sig"), _Strict)
