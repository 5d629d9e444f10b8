"""The journal of a station at the line: every verdict, by what, and that nobody changed it.

`docs/journal.md` tells its format. `Journal` is the one writer, `Journal.reading` opens one beside
it, `verify` finds what was changed.
"""

from common.line.journal.findings import Finding, Findings
from common.line.journal.heads import Signer
from common.line.journal.images import KeepRule
from common.line.journal.journal import Journal
from common.line.journal.reader import JournalReader
from common.line.journal.rows import (
    Entry,
    Head,
    Review,
    Summary,
    Switch,
    ThresholdChange,
    Verdict,
)
from common.line.journal.verify import verify

__all__ = [
    "Entry",
    "Finding",
    "Findings",
    "Head",
    "Journal",
    "JournalReader",
    "KeepRule",
    "Review",
    "Signer",
    "Summary",
    "Switch",
    "ThresholdChange",
    "Verdict",
    "verify",
]
