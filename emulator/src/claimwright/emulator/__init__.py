"""The emulated GPU node: a hardware model and the faces that tell the same story about it.

`running.up("hgx-h100", name="node-a")` boots a node as a process; `model` is its state, `files` and `nvml`
are its faces, `tools` the programs of its driver root, `kubelet` the stand-in for the kubelet of many nodes.
"""
