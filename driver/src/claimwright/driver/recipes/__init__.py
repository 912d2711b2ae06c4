"""One module per kind of device: what of it this node offers, and what preparing it takes.

A recipe knows neither sockets nor files: steps act (`tools/`), edits let containers in (`edits/`).
"""

from claimwright.driver.recipes.dynamic_mig import DynamicMig
from claimwright.driver.recipes.full import FullGpus
from claimwright.driver.recipes.mdev_vgpu import MdevVgpus
from claimwright.driver.recipes.recipe import Offer, Preparation, Recipe, Wanted
from claimwright.driver.recipes.sriov_vgpu import SriovVgpus
from claimwright.driver.recipes.static_mig import StaticMig
from claimwright.driver.recipes.vfio import VfioGpus

__all__ = [
    "DynamicMig",
    "FullGpus",
    "MdevVgpus",
    "Offer",
    "Preparation",
    "Recipe",
    "SriovVgpus",
    "StaticMig",
    "VfioGpus",
    "Wanted",
]
