"""`python -m claimwright.conformance`: the suite's command without the project's own command line."""

from claimwright.conformance.commands import conformance

if __name__ == "__main__":
    conformance()
