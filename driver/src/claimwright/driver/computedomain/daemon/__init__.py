"""The daemon of one ComputeDomain on one node: keeps nvidia-imex, and keeps the row that tells where it is.

`running.run` registers this node in the clique of its domain, tells nvidia-imex where its peers are, and takes the node
out again at the end; `checking.check` is what the probes of its pod ask. Nothing is imported here: a probe starts once
a second and needs a small part only.
"""
