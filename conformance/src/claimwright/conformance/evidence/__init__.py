"""The evidence bundle: what a run leaves behind, and how it is checked again by somebody else."""

from claimwright.conformance.evidence.bundle import Report, Run, write_bundle
from claimwright.conformance.evidence.difference import compare_bundles
from claimwright.conformance.evidence.verify import verify_bundle

__all__ = ["Report", "Run", "compare_bundles", "verify_bundle", "write_bundle"]
