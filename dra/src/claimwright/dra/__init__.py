"""The contract of Kubernetes DRA drivers.

Values (`claims`, `slices`, `quantities`, `cdi`, `metadata`), doors (`kube`, `files`), the kit that a driver
is built on (`plugin`) and the client that plays the kubelet (`kubelet`). Import from those modules: this one
stays empty, so that a driver pays only for what it uses.
"""

__all__: list[str] = []
