"""What can go wrong in this room: one tree, each message names the value and what to do."""

from __future__ import annotations


class ReportError(Exception):
    """The user can mend this; the message says how."""


class SamplesError(ReportError):
    """A samples file cannot be used: missing, empty, damaged, or of a foreign schema."""


class MixedSeriesError(ReportError):
    """Emulated and real-hardware samples were about to share a report."""


class UnknownMetricError(ReportError):
    """A metric id that the registry does not hold."""


class TargetError(ReportError):
    """The cluster, the node, the plugin or the driver process cannot be measured as asked."""


class OptionError(ReportError):
    """An option names something that cannot be used, whatever the cluster is like."""


class ManifestError(ReportError):
    """The pod manifest template holds something that this measurement cannot use."""
