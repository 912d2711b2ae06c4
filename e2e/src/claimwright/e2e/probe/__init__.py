"""The probe: a small C program that tells what a container can reach, and the image that holds it."""

from claimwright.e2e.probe.build import build_probe

__all__ = ["build_probe"]
