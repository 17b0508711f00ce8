"""Files of the VM that come home by themselves."""
