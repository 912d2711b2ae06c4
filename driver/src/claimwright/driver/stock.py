"""What this node can give now: the offers of all recipes by device name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from claimwright.driver.inventory import Inventory
from claimwright.driver.recipes.recipe import AnyOffer, AnyRecipe


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
