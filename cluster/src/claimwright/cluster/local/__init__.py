"""The local provider: real Kubernetes processes on this machine, no container engine, no registry."""
