"""A real SSH server in a process of its own, whose "VM" is a folder in the cache.

For trying everything without a VM, for the demo and for tests. It is not a jail: what
runs there runs as the local user, only its home and working folder are the VM folder.
"""
