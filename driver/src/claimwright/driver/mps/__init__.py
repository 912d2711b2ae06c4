"""CUDA's Multi-Process Service: one control daemon per group of devices that share one config.

The driver starts, watches and ends the daemons itself: `limits` is what a config asks for, `place` where a daemon's
files are, `daemon` how one is started, spoken to and ended, `supervising` what happens when one dies.
"""
