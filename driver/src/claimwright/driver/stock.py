"""What this node can give now: the offers of all recipes by device name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from claimwright.dra.slices import CounterSet
from claimwright.driver import counters
from claimwright.driver.inventory import Gpu, Inventory, LeftOut
from claimwright.driver.recipes.recipe import AnyOffer, AnyRecipe, Withholding


class Stock:
    """The offers of one reading of the node; `renew` takes the next reading."""

    def __init__(self, recipes: Sequence[AnyRecipe], inventory: Inventory) -> None:
        self._recipes = tuple(recipes)
        self.inventory = inventory
        self.offers: Mapping[str, AnyOffer] = {}
        self.renew(inventory)

    def renew(self, inventory: Inventory) -> bool:
        """Discover anew; tell whether anything that is published changed."""
        found = (offer for recipe in self._recipes for offer in recipe.discover(inventory))
        offers = {offer.name: offer for offer in found}
        changed = [offer.device for offer in offers.values()] != [
            offer.device for offer in self.offers.values()
        ]
        self.inventory, self.offers = inventory, offers
        return changed

    def unoffered(self) -> tuple[Gpu, ...]:
        """Return the GPUs of which nothing is offered."""
        offered = {offer.hardware for offer in self.offers.values()}
        return tuple(gpu for gpu in self.inventory.gpus if gpu.pci_bus_id not in offered)

    def withheld(self) -> tuple[LeftOut, ...]:
        """Return what the recipes would offer if something were not in the way, with the reason."""
        asked = (recipe for recipe in self._recipes if isinstance(recipe, Withholding))
        return tuple(found for recipe in asked for found in recipe.withheld(self.inventory))

    def counter_sets(self) -> tuple[CounterSet, ...]:
        """Return the sets that the published devices take from."""
        used = {
            consumption.counter_set
            for offer in self.offers.values()
            for consumption in offer.device.consumes_counters
        }
        sets = (counters.counter_set(gpu) for gpu in self.inventory.gpus)
        return tuple(found for found in sets if found.name in used)
