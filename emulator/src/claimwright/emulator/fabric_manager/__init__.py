"""The node's fabric manager: what `libnvfm.so` and `fmpm` of its driver root talk to.

`serving.serve(model, driver_root)` listens at `run/nvidia-fabricmanager/socket` while the model's manager runs;
requests become operations of `model.operations.fabric`. The client library is C: `tools/source/nvfm/`.
"""

from claimwright.emulator.fabric_manager.requests import SOCKET, answer

__all__ = ["SOCKET", "answer"]
