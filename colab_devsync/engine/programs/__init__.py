"""Programs on the VM: in the foreground, as runs, under a debugger."""
