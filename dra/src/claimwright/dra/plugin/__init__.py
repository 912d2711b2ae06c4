"""The kit that a DRA driver is built on: write a Driver, hand it to a Plugin, start it."""

from claimwright.dra.plugin.driver import Driver, HealthSource, Patient, PluginFolders, Recalling
from claimwright.dra.plugin.errors import (
    LIST_ATTRIBUTES,
    ClaimGone,
    DroppedFields,
    PluginError,
    SocketUnusable,
)
from claimwright.dra.plugin.metadata_files import MetadataFiles
from claimwright.dra.plugin.plugin import Plugin
from claimwright.dra.plugin.publisher import SlicePublisher
from claimwright.dra.plugin.sockets import dra_socket, registration_socket
from claimwright.dra.prepared import DeviceHealth, NetworkData, PreparedDevice

__all__ = [
    "LIST_ATTRIBUTES",
    "ClaimGone",
    "DeviceHealth",
    "Driver",
    "DroppedFields",
    "HealthSource",
    "MetadataFiles",
    "NetworkData",
    "Patient",
    "Plugin",
    "PluginError",
    "PluginFolders",
    "PreparedDevice",
    "Recalling",
    "SlicePublisher",
    "SocketUnusable",
    "dra_socket",
    "registration_socket",
]
