"""The provider for a cluster that is already there."""
