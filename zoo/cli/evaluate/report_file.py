"""``zoo evaluate report=``: where the report is written, and what it shows."""

from pathlib import Path

from lightning.pytorch.utilities import rank_zero_only
from omegaconf import DictConfig

from zoo.report import page
from zoo.report.content import Report

NAME = "report.html"


def path_of(cfg: DictConfig) -> Path | None:
    """The file of the report: that of ``report=``, or report.html beside ``output=`` or in the working directory.

    None without a report.

    Raises:
        ValueError: ``report`` is neither true nor false nor the name of an HTML file.
    """
    if cfg.report in (None, False):
        return None
    if cfg.report is True:
        return Path(cfg.output).with_name(NAME) if cfg.output else Path(NAME)
    if not isinstance(cfg.report, str) or Path(cfg.report).suffix.lower() not in (".html", ".htm"):
        raise ValueError(f"report={cfg.report} must be true, false or the name of an .html file")
    return Path(cfg.report)


@rank_zero_only
def write(report: Report, path: Path) -> None:
    """Write the page once, with several processes too."""
    page.write(report, path)
