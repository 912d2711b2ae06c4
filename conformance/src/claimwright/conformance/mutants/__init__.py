"""Deliberately wrong drivers: the proof that each requirement can fail.

`reference_driver` is the correct one; each `m<number>_…` module holds one row of the table in the suite's design.
"""
