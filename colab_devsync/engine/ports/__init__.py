"""Ports of the VM on this machine."""
