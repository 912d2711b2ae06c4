"""What each file of a node says, as values, and the ways to serve it.

`faces.host_root(state)` is a whole tree; `sysfs`, `procfs` and `dev` make its parts; `plain.PlainTree` keeps
a folder equal to it, `fake.create` puts it into pyfakefs, `mounts` attaches it to a mount namespace. Import
the module you need: this package itself imports no model, so that the mount worker starts fast.
"""

from claimwright.emulator.files.tree import CharDevice, Dir, Entry, File, Link, Tree

__all__ = ["CharDevice", "Dir", "Entry", "File", "Link", "Tree"]
