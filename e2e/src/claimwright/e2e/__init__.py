"""Scenarios that join the rooms, and the wiring that puts an emulated node under a driver on a Kubernetes."""
