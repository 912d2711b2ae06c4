"""A node's files as a mounted file system, over the kernel's FUSE protocol itself: no libfuse, one thread.

`FuseServer` serves a HostFiles, `mounted` puts it at a folder.
"""

from claimwright.emulator.files.fuse.serving import FuseServer, mounted

__all__ = ["FuseServer", "mounted"]
