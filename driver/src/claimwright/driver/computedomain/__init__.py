"""ComputeDomains: GPUs of several nodes that share memory over NVLink, through nvidia-imex.

Four parts of one thing, each with a folder or module of its own, that know each other through `resources` only: the
`controller` (one in a cluster) makes what a domain needs, the `plugin` (one a node) gives channels and daemons to pods,
the `daemon` (one a node and domain) keeps nvidia-imex and tells where it is.
"""
