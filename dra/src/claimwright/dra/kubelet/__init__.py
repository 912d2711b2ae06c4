"""What plays the kubelet: finds plugins by their sockets, registers and calls them, checks their replies."""

from claimwright.dra.kubelet.client import PluginClient, failures
from claimwright.dra.kubelet.discovery import PluginWatcher, find_plugins, find_sockets, wait_for_plugin
from claimwright.dra.kubelet.errors import CallFailed, InvalidReply, KubeletError, RegistrationFailed
from claimwright.dra.kubelet.handshake import PluginInfo, get_info, register, validate
from claimwright.dra.kubelet.versions import choose_dra_version, choose_health_version
from claimwright.dra.prepared import DeviceHealth, PreparedDevice

__all__ = [
    "CallFailed",
    "DeviceHealth",
    "InvalidReply",
    "KubeletError",
    "PluginClient",
    "PluginInfo",
    "PluginWatcher",
    "PreparedDevice",
    "RegistrationFailed",
    "choose_dra_version",
    "choose_health_version",
    "failures",
    "find_plugins",
    "find_sockets",
    "get_info",
    "register",
    "validate",
    "wait_for_plugin",
]
