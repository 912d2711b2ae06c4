"""Container images made from files, without an engine and without a registry."""

from claimwright.cluster.images.elf import program_files
from claimwright.cluster.images.oci import Entry, ImageFile, ImageLink, ImageSpec, ImageText, compose_image

__all__ = ["Entry", "ImageFile", "ImageLink", "ImageSpec", "ImageText", "compose_image", "program_files"]
