"""Reads what `nvidia-smi -q -x` printed on a real machine as a capture: NVML's half of it, without the PCI tree."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from xml.parsers.expat import ErrorString

from claimwright.emulator.captures import clock_lists
from claimwright.emulator.captures.capture import Capture
from claimwright.emulator.captures.errors import CaptureError

_NOTHING = re.compile(
    r"|N/A|Unknown Error|Requested functionality has been deprecated|Insufficient Permissions"
)


def _plain(text: str) -> str:
    return text


def _number(text: str) -> str:
    """Keep the number of `81559 MiB`, `-8 C`, `16x`, `700.00 W`."""
    found = re.match(r"-?\d+(\.\d+)?", text)
    if found is None:
        raise ValueError("no number")
    whole, _, part = found[0].partition(".")
    return f"{whole}.{part}" if part.strip("0") else whole


def _lower(text: str) -> str:
    return text.lower().replace(" ", "_")


def _watts(text: str) -> str:
    return f"{float(_number(text)):.1f}"


def _device(text: str) -> str:
    return f"{int(text, 16) >> 16:#06x}"


def _bus(text: str) -> str:
    domain, _, rest = text.lower().partition(":")
    return f"{int(domain, 16):04x}:{rest}"


def _switch(text: str) -> str:
    return {"Enabled": "true", "Disabled": "false"}[text]


def _told(_text: str) -> str:
    return "true"


def _atomics(text: str) -> str:
    return " ".join(text.lower().split())


Rule = tuple[str, str, Callable[[str], str]]

# leaf, element, how it is written in a profile
_RULES: tuple[Rule, ...] = (
    ("name", "product_name", _plain),
    ("architecture", "product_architecture", _lower),
    ("uuid", "uuid", _plain),
    ("serial", "serial", _plain),
    ("pdi", "pdi", _plain),
    ("at", "pci/pci_bus_id", _bus),
    ("minor", "minor_number", _plain),
    ("module_id", "platformInfo/module_id", _plain),
    ("board_id", "board_id", _plain),
    ("persistence_mode", "persistence_mode", _switch),
    (
        "virtualization",
        "gpu_virtualization_mode/virtualization_mode",
        lambda text: _lower(text).replace("-", "_"),
    ),
    ("pci.device", "pci/pci_device_id", _device),
    ("pci.subsystem_device", "pci/pci_sub_system_id", _device),
    ("pci.link_generation", "pci/pci_gpu_link_info/pcie_gen/max_device_link_gen", _number),
    ("pci.host_generation", "pci/pci_gpu_link_info/pcie_gen/max_link_gen", _number),
    ("pci.link_width", "pci/pci_gpu_link_info/link_widths/max_link_width", _number),
    ("pci.trained_width", "pci/pci_gpu_link_info/link_widths/current_link_width", _number),
    ("pci.atomics_inbound", "pci/atomic_caps_inbound", _atomics),
    ("pci.atomics_outbound", "pci/atomic_caps_outbound", _atomics),
    ("parts.board", "board_part_number", _plain),
    ("parts.gpu", "gpu_part_number", _plain),
    ("parts.vbios", "vbios_version", _plain),
    ("parts.inforom_image", "inforom_version/img_version", _plain),
    ("parts.inforom_oem", "inforom_version/oem_object", _plain),
    ("parts.inforom_ecc", "inforom_version/ecc_object", _plain),
    ("parts.inforom_power", "inforom_version/pwr_object", _plain),
    ("memory.total_mib", "fb_memory_usage/total", _number),
    ("memory.reserved_mib", "fb_memory_usage/reserved", _number),
    ("memory.bar1_mib", "bar1_memory_usage/total", _number),
    ("memory.ecc", "ecc_mode/current_ecc", _told),
    ("memory.remap_banks", "remapped_rows/row_remapper_histogram/row_remapper_histogram_max", _number),
    ("memory.page_retirement", "retired_pages/double_bit_retirement/retired_count", _told),
    ("power.min_watts", "gpu_power_readings/min_power_limit", _number),
    ("power.default_watts", "gpu_power_readings/default_power_limit", _number),
    ("power.max_watts", "gpu_power_readings/max_power_limit", _number),
    ("power.average", "gpu_power_readings/average_power_draw", _told),
    ("power.module.min_watts", "module_power_readings/min_power_limit", _number),
    ("power.module.default_watts", "module_power_readings/default_power_limit", _number),
    ("power.module.max_watts", "module_power_readings/max_power_limit", _number),
    ("max_clocks.graphics", "max_clocks/graphics_clock", _number),
    ("max_clocks.sm", "max_clocks/sm_clock", _number),
    ("max_clocks.memory", "max_clocks/mem_clock", _number),
    ("max_clocks.video", "max_clocks/video_clock", _number),
    ("default_application_clocks.graphics", "default_applications_clocks/graphics_clock", _number),
    ("default_application_clocks.memory", "default_applications_clocks/mem_clock", _number),
    ("thermals.thresholds.shutdown", "temperature/gpu_temp_max_threshold", _number),
    ("thermals.thresholds.slowdown", "temperature/gpu_temp_slow_threshold", _number),
    ("thermals.thresholds.max_operating", "temperature/gpu_temp_max_gpu_threshold", _number),
    ("thermals.thresholds.memory_max", "temperature/gpu_temp_max_mem_threshold", _number),
    ("thermals.tlimits.shutdown", "temperature/gpu_temp_max_tlimit_threshold", _number),
    ("thermals.tlimits.slowdown", "temperature/gpu_temp_slow_tlimit_threshold", _number),
    ("thermals.tlimits.max_operating", "temperature/gpu_temp_max_gpu_tlimit_threshold", _number),
    ("thermals.tlimits.memory_max", "temperature/gpu_temp_max_mem_tlimit_threshold", _number),
    ("addressing_mode", "addressing_mode", _lower),
    ("mig_capable", "mig_mode/current_mig", _told),
    ("c2c", "c2c_mode", _lower),
    ("fabric.state", "fabric/state", _lower),
    ("fabric.cluster_uuid", "fabric/clusterUuid", _plain),
    ("fabric.clique_id", "fabric/cliqueId", _plain),
    ("fabric.degraded_bandwidth", "fabric/health/bandwidth", _told),
    ("fabric.route_recovery", "fabric/health/route_recovery_in_progress", _told),
    ("fabric.route_unhealthy", "fabric/health/route_unhealthy", _told),
    ("fabric.access_timeout_recovery", "fabric/health/access_timeout_recovery", _told),
    ("fabric.misconfiguration", "fabric/health/incorrect_configuration", _told),
    ("tray.chassis_serial", "platformInfo/chassis_serial_number", _plain),
    ("tray.slot", "platformInfo/slot_number", _plain),
    ("tray.index", "platformInfo/tray_index", _plain),
    ("tray.host_id", "platformInfo/host_id", _plain),
    ("fabric_guid", "platformInfo/gpu_fabric_guid", _plain),
    ("reading.temperature", "temperature/gpu_temp", _number),
    ("reading.tlimit", "temperature/gpu_temp_tlimit", _number),
    ("reading.memory_temperature", "temperature/memory_temp", _number),
    ("reading.power_watts", "gpu_power_readings/instant_power_draw", _watts),
    ("reading.performance_state", "performance_state", lambda text: text.removeprefix("P")),
    ("reading.clocks.graphics", "clocks/graphics_clock", _number),
    ("reading.clocks.sm", "clocks/sm_clock", _number),
    ("reading.clocks.memory", "clocks/mem_clock", _number),
    ("reading.clocks.video", "clocks/video_clock", _number),
)


def parse_smi_xml(text: str, source: str) -> Capture:
    """Read a report of nvidia-smi; CaptureError gives the line and the reason, or the element."""
    if "<!ENTITY" in text:
        raise CaptureError(f"{source}: a report of nvidia-smi declares no entities")
    try:
        root = ET.fromstring(text)  # noqa: S314 - entities are refused above
    except ET.ParseError as error:
        line, column = error.position
        reason = ErrorString(error.code)
        raise CaptureError(f"{source}:{line}: not XML: {reason} (column {column + 1})") from None
    if root.tag != "nvidia_smi_log":
        raise CaptureError(f"{source}:1: expected nvidia_smi_log, found {root.tag!r}")
    gpus = root.findall("gpu")
    if not gpus:
        raise CaptureError(f"{source}: the report lists no gpu")
    leaves = dict(_node_leaves(root))
    for index, gpu in enumerate(gpus):
        leaves.update((f"gpu.{index}.{path}", value) for path, value in _gpu_leaves(gpu, source, index))
    return Capture(leaves, source)


def _node_leaves(root: ET.Element) -> Iterator[tuple[str, str]]:
    if driver := (root.findtext("driver_version") or "").strip():
        yield "driver.version", driver
    if cuda := re.fullmatch(r"(\d+)\.(\d+)", (root.findtext("cuda_version") or "").strip()):
        yield "driver.cuda_version", str(int(cuda[1]) * 1000 + int(cuda[2]) * 10)


def _gpu_leaves(gpu: ET.Element, source: str, index: int) -> Iterator[tuple[str, str]]:
    for leaf, element, written in _RULES:
        said = (gpu.findtext(element) or "").strip()
        if _NOTHING.fullmatch(said) and not (leaf == "addressing_mode" and said == "None"):
            continue
        try:
            yield leaf, written(said)
        except (ValueError, KeyError):
            raise CaptureError(
                f"{source}: gpu {index}: {element}: {said!r} is not what belongs there"
            ) from None
    if gpu.findtext("ecc_errors/volatile/sram_uncorrectable") is not None:
        yield "memory.sram_errors", "combined"
    try:
        clocks = _clocks(gpu)
    except ValueError:
        raise CaptureError(f"{source}: gpu {index}: supported_clocks: not all clocks are numbers") from None
    if clocks:
        yield "supported_clocks", clock_lists.written(clocks)


def _clocks(gpu: ET.Element) -> dict[int, list[int]]:
    return {
        int(_number(memory.findtext("value") or "")): [
            int(_number(clock.text or "")) for clock in memory.findall("supported_graphics_clock")
        ]
        for memory in gpu.findall("supported_clocks/supported_mem_clock")
    }
