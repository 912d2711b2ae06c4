"""One module per kind of device or setting: how it is described, and the steps that prepare it."""
