"""The project's files, brought to the VM and kept the same there."""
