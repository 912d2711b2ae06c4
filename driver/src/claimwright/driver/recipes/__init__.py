"""One module per kind of device: what of it this node offers, and what preparing it takes.

A recipe knows neither sockets nor files: steps act (`tools/`), edits let containers in (`edits/`).
"""

from claimwright.driver.recipes.full import FullGpus
from claimwright.driver.recipes.recipe import Offer, Preparation, Recipe, Wanted

__all__ = ["FullGpus", "Offer", "Preparation", "Recipe", "Wanted"]
