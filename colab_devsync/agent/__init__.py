"""The helper process on the VM: standard library only, Python 3.8+.

Imports nothing of ours. Its sources travel over an SSH exec channel and run from
memory; nothing is installed. The local side imports the same modules for framing,
hashing and deltas, so there is one definition of each.
"""
