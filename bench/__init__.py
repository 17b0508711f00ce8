"""Measurements through the public commands, against a real sshd behind a proxy."""
