"""A doctor for data folders: names every fault at once, where a run would stop at the first."""

from common.check.doctor import check_folder
from common.check.findings import CheckOptions, Finding, Report, Severity

__all__ = ["CheckOptions", "Finding", "Report", "Severity", "check_folder"]
