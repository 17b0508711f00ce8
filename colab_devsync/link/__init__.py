"""Ways in to the VM, and SSH itself. Start reading at base.py and providers.py."""
