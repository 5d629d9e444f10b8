"""The report: run folders in, one self-contained html page out; and the plots of one run."""

from common.analysis.report.write import GalleryPicture, write_report, write_run_plots

__all__ = ["GalleryPicture", "write_report", "write_run_plots"]
