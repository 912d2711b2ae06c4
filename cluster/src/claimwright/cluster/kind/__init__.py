"""The provider that drives the kind command where a container engine exists."""
