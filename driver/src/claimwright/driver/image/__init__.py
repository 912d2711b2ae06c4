"""The driver's container image, composed from the Python environment that runs this: no engine, no registry."""

from claimwright.driver.image.composition import layers, write_image, write_tree
from claimwright.driver.image.oci_layout import REFERENCE

__all__ = ["REFERENCE", "layers", "write_image", "write_tree"]
