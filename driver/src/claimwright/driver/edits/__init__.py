"""What containers get, as CDI edits: one module per source of edits, named in a book.

A recipe names edits by calls (plain JSON, so that the journal keeps them); the claim spec is made from the calls
when its step acts, since some answers, such as the minor number of a partition, exist only then.
"""

from claimwright.driver.edits.book import EditBook, EditCall, EditMaker, call
from claimwright.driver.edits.installation import Installation

__all__ = ["EditBook", "EditCall", "EditMaker", "Installation", "call"]
