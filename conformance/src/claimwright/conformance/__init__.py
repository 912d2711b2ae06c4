"""A vendor-neutral conformance suite for Kubernetes DRA drivers: requirements, checks, evidence, mutants.

Three doors to one body: `claimwright conformance run`, `pytest --pyargs claimwright.conformance.checks --driver …`,
and `claimwright.conformance.running.run_suite`.
"""
