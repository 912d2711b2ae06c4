"""The `claimwright` command: a lazy group over the sub-commands that installed rooms bring."""
