"""What runs on a VM to let us in: its SSH server, the tunnel, the connect string.

A leaf like the agent: standard library only, Python 3.8 and newer, nothing of ours
outside this folder. `core/notebook` puts the modules together into one plain script.
"""
