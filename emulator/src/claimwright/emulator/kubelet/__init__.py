"""The kubelet stand-in: emulated nodes that speak plugin registration and DRA gRPC as a kubelet does.

`StandInKubelet(kube, [StandInNode(name, folder)])` is the surface; `README.md` beside this file says what is real
in it and what is not.
"""
