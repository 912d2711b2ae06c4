"""Command-line tools of an emulated node, written in C on top of its NVML library (see `source/`).

`nvidia-smi` asks the library as the real one does; `nvidia-cdi-hook` edits a container's root file system;
`libcuda.so.1` answers how many devices there are. `nvidia-imex` and `nvidia-imex-ctl` (`source/imex/`) are static, so
that they run in containers and in a chroot of the driver root: daemons greet each other over TCP, keep each other alive
and say who reaches whom. So are `nvidia-cuda-mps-control` and `nvidia-cuda-mps-server` (`source/mps/`): a daemon that
remembers limits and starts servers for clients, which compute nothing. `nvml.compiling` builds them, `nvml.driver_root`
installs them.
"""
