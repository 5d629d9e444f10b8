"""Structural and logical anomalies: which kind a defect type is."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import yaml

from common.data.strict_yaml import read_yaml
from common.errors import InputError

STRUCTURAL = "structural"
LOGICAL = "logical"
UNKNOWN = "unknown"

# A logical anomaly breaks a rule of assembly with parts that look normal by themselves; a
# structural one looks unlike anything on a good part. As assigned by the authors of AutoVI.
AUTOVI_KINDS: Mapping[str, str] = {
    "fastening": LOGICAL,
    "blue_hoop": LOGICAL,
    "missing": LOGICAL,
    "cardboard": STRUCTURAL,
    "multiple": STRUCTURAL,
    "obstruction": STRUCTURAL,
    "operator": STRUCTURAL,
    "unclipped": STRUCTURAL,
}


def anomaly_kind(defect_type: str, table: Mapping[str, str] | None = None) -> str:
    """Say whether a defect type is a structural or a logical anomaly.

    Parameters
    ----------
    defect_type : str
        Name of a defect type.
    table : mapping of str to "structural" or "logical", optional
        Kinds that the user gives; they take precedence over the AutoVI types known here.

    Returns
    -------
    str
        "structural", "logical", or "unknown" for a type in neither table.

    Raises
    ------
    ValueError
        If the table gives another kind than these.
    """
    kind = (table or {}).get(defect_type, AUTOVI_KINDS.get(defect_type, UNKNOWN))
    if kind not in (STRUCTURAL, LOGICAL, UNKNOWN):
        raise ValueError(f"the kind of {defect_type!r} is {kind!r}, expected structural or logical")
    return kind


def read_kinds(path: Path) -> dict[str, str]:
    """Read a table of kinds: a YAML or JSON file with one line `type: structural` per type.

    Raises
    ------
    InputError
        If the file cannot be read or is not such a table.
    """
    expected = "expected lines such as 'scratch: structural' or 'wrong_part: logical'"
    try:
        table = read_yaml(path)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(f"{path}: the table of anomaly kinds cannot be read ({error})") from error
    if not isinstance(table, dict):
        raise InputError(f"{path}: holds no table of anomaly kinds; {expected}")
    for name, kind in table.items():
        if not isinstance(name, str) or kind not in (STRUCTURAL, LOGICAL):
            raise InputError(f"{path}: gives {name!r} the kind {kind!r}; {expected}")
    return dict(table)
