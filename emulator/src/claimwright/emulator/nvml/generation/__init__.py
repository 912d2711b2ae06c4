"""What `generate` makes of nvml.h: Python records, the table of functions, and the C that asks the node."""
