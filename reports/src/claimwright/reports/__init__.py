"""Measurements of a DRA driver, and the report of a release: exact samples in, one page and one JSON out."""

from claimwright.reports.errors import ReportError
from claimwright.reports.metrics import Metric, metric, registry
from claimwright.reports.samples import Sample, SampleFile, SampleWriter, find_sample_files, read_samples

__all__ = [
    "Metric",
    "ReportError",
    "Sample",
    "SampleFile",
    "SampleWriter",
    "find_sample_files",
    "metric",
    "read_samples",
    "registry",
]
