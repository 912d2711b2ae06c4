"""Command-line tools of an emulated node, written in C on top of its NVML library (see `source/`).

`nvidia-smi` asks the library as the real one does; `nvidia-cdi-hook` edits a container's root file system;
`libcuda.so.1` answers how many devices there are. `nvml.compiling` builds them, `nvml.driver_root` installs them.
"""
