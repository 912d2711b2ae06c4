"""What NVIDIA's GPUs are called on the PCI bus, in the words of pci.ids, which claims for passthrough select by.

The community driver carries pci.ids as a whole; here are the boards of data centres, and for all others the node's own
copy is asked.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Final

from claimwright.driver.ports import Host

_VENDOR: Final = "10de"
_LISTS: Final = (PurePosixPath("/usr/share/misc/pci.ids"), PurePosixPath("/usr/share/hwdata/pci.ids"))
_BOARDS: Final[Mapping[int, str]] = {
    0x1DB1: "GV100GL [Tesla V100 SXM2 16GB]",
    0x1DB4: "GV100GL [Tesla V100 PCIe 16GB]",
    0x1DB5: "GV100GL [Tesla V100 SXM2 32GB]",
    0x1DB6: "GV100GL [Tesla V100 PCIe 32GB]",
    0x1DB8: "GV100GL [Tesla V100 SXM3 32GB]",
    0x1DF6: "GV100GL [Tesla V100S PCIe 32GB]",
    0x1EB8: "TU104GL [Tesla T4]",
    0x20B0: "GA100 [A100 SXM4 40GB]",
    0x20B1: "GA100 [A100 PCIe 40GB]",
    0x20B2: "GA100 [A100 SXM4 80GB]",
    0x20B5: "GA100 [A100 PCIe 80GB]",
    0x20B7: "GA100GL [A30 PCIe]",
    0x20BD: "GA100 [A800 SXM4 40GB]",
    0x20F1: "GA100 [A100 PCIe 40GB]",
    0x20F3: "GA100 [A800-SXM4-80GB]",
    0x20F5: "GA100 [A800 80GB PCIe]",
    0x2235: "GA102GL [A40]",
    0x2236: "GA102GL [A10]",
    0x2237: "GA102GL [A10G]",
    0x25B6: "GA107GL [A2 / A16]",
    0x2321: "GH100 [H100L 94GB]",
    0x2322: "GH100 [H800 PCIe]",
    0x2324: "GH100 [H800]",
    0x2329: "GH100 [H20]",
    0x2330: "GH100 [H100 SXM5 80GB]",
    0x2331: "GH100 [H100 PCIe]",
    0x2335: "GH100 [H200 SXM 141GB]",
    0x2336: "GH100 [H100]",
    0x2337: "GH100 [H100 SXM5 64GB]",
    0x2338: "GH100 [H100 SXM5 96GB]",
    0x2339: "GH100 [H100 SXM5 94GB]",
    0x233A: "GH100 [H800L 94GB]",
    0x233B: "GH100 [H200 NVL]",
    0x233D: "GH100 [H100 96GB]",
    0x2342: "GH100 [GH200 120GB / 480GB]",
    0x2348: "GH100 [GH200 144G HBM3e]",
    0x26B5: "AD102GL [L40]",
    0x26B9: "AD102GL [L40S]",
    0x26BA: "AD102GL [L20]",
    0x27B6: "AD104GL [L2]",
    0x27B8: "AD104GL [L4]",
    0x2901: "GB100 [B200]",
    0x2941: "GB100 [HGX GB200]",
    0x2BB5: "GB202GL [RTX PRO 6000 Blackwell Server Edition]",
}


def product_name(host: Host, device: int) -> str | None:
    """Return what pci.ids calls NVIDIA's device of this id; None when neither list knows it."""
    return _BOARDS.get(device) or _listed(host, f"{device:04x}")  # type: ignore[arg-type]  # doors are compared by id


@functools.lru_cache(maxsize=64)
def _listed(host: Host, device: str) -> str | None:
    """Look in the node's own list: vendors at the margin, their devices indented by one tab."""
    text = next(filter(None, (host.read_text(path) for path in _LISTS)), "")
    _, _, section = f"\n{text}".partition(f"\n{_VENDOR}  ")
    for line in section.splitlines()[1:]:
        if line and not line.startswith(("\t", "#")):
            break
        if line.startswith(f"\t{device}  "):
            return line.partition("  ")[2].strip()
    return None
