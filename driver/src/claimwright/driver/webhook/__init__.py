"""The validating webhook: bad opaque configs are refused when they are written, not when a pod starts.

Reviews claims, claim templates and device classes; everything that is no config of this project's drivers passes.
"""

from claimwright.driver.webhook.reviews import UnreadableReview, review
from claimwright.driver.webhook.server import WebhookSettings, run

__all__ = ["UnreadableReview", "WebhookSettings", "review", "run"]
