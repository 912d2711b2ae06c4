"""The steps of a prepare: one module per kind of step, each with what does, undoes and looks for it."""
