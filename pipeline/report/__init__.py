"""The report: ``report.json`` for programs, ``report.html`` and pictures for people, a short table for the terminal."""

from pipeline.report.page import write_report
from pipeline.report.summary import summary

__all__ = ["summary", "write_report"]
