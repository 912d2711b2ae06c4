"""The kubelet plugin of ComputeDomains on one node: it gives IMEX channels to workloads and daemons their containers.

The way of a claim: `planning` (what it may have here) → the machine, with the steps in `steps/` (the node joins its
domain, waits until it is ready there, containers get in by `edits`) → reply. `patience` repeats a prepare that waits
for others; `cliques` knows the NVLink fabric, `domains` the API objects; `composition` puts all of it together.
"""
