"""The words and the thin cells of the notebook. Constants, and one pure function."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

SCRIPT_DOC = """\
Lets colab-devsync in to this machine: an SSH server, and a tunnel to it.

Made by `colab-devsync notebook`; `--help` has the options. Standard library only,
Python 3.8 or newer. Run it as often as you like: it changes only what has to change.
No secret is in this file.
"""

FIELDS: Mapping[str, str] = {
    "name": "The project, and its folder on this VM:",
    "relay": "Your relay: host and port of its SSH server, and this VM's user there.",
    "relay_port": "Where the relay listens for this VM (on its own localhost):",
    "relay_host_key": "The relay's host key, `SHA256:...`; "
    "`colab-devsync relay check` shows it:",
    "via": "How your own machine logs in to the relay:",
    "public_key": "Who may log in here: the public key (one line) of your machine.",
    "mark": "How your machine finds the endpoint at ngrok (leave it as it is):",
    "host": "Where your own tunnel can be reached from outside:",
}

PROGRAM_CELL = """\
#@title The program (plain Python; open this cell to read it)
SOURCE = r'''PROGRAM_TEXT'''

import importlib.util, os, sys

folder = os.path.expanduser("~/.colab-devsync/link")
os.makedirs(folder, mode=0o700, exist_ok=True)
path = os.path.join(folder, "bootstrap.py")
with open(path, "w", encoding="utf-8") as file:
    file.write(SOURCE)
spec = importlib.util.spec_from_file_location("devsync_bootstrap", path)
devsync = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(devsync)
"""

SERVER_CELL = """\
#@title SSH server (on 127.0.0.1, keys only)
server = devsync.run_server(devsync.Settings(**settings))
"""

TUNNEL_CELL = """\
#@title Tunnel
tunnel = devsync.run_tunnel(devsync.Settings(**settings))
"""

CONNECT_CELL = """\
#@title Connect
#@markdown `stay_in_front`: this cell goes on executing and shows link, GPU, runs and
#@markdown pulled folders until you stop it. It clicks nothing and keeps nothing alive.
stay_in_front = False #@param {type:"boolean"}
devsync.show(devsync.Settings(**settings), stay_in_front)
"""

_TERMS = """\
### Before you run this: Colab's rules

- Google's [FAQ](https://research.google.com/colaboratory/faq.html) does not allow \
**SSH and other remote control on runtimes without a paid compute-unit balance**; such \
a runtime may be ended at any time, without warning.
- "Connecting to remote proxies" is not allowed on **any** managed runtime, and a \
tunnel through another machine may count as that. Accounts have been blocked. Read the \
current text and decide for yourself.
- Nothing here clicks, pings or pretends to work to keep a runtime alive. Instead, \
colab-devsync fetches checkpoints all the time and fills the next VM by itself.
"""

_STEPS = {
    "relay": """\
1. Once: set the relay up with `colab-devsync relay setup`.
2. Put the VM's key for the relay (`colab-devsync relay key` prints it) into Colab's \
secrets (the key symbol in the side bar) as `DEVSYNC_RELAY_KEY`, with notebook access. \
Without it you are asked.
3. Runtime, Run all. The last cell shows the line to connect with.
""",
    "ngrok": """\
1. Put your ngrok authtoken into Colab's secrets (the key symbol in the side bar) as \
`NGROK_AUTHTOKEN`, with notebook access. Without it you are asked. TCP needs a \
verified card there; the free plan has 1 GB of traffic a month.
2. Runtime, Run all. The last cell shows the line to connect with.
""",
    "direct": """\
1. Runtime, Run all: an SSH server runs on this VM's 127.0.0.1.
2. Start your own tunnel to that port in a cell of yours (bore, frp, chisel, \
Tailscale). The last cell shows the line to connect with.
""",
    "command": """\
1. Runtime, Run all: an SSH server runs on this VM's 127.0.0.1.
2. Start the VM's end of your own tunnel to that port in a cell of yours; your \
machine's end is `proxy_command` in `.colabremote.toml`.
""",
    "colab": """\
The link `colab` needs **no notebook**: colab-devsync goes through Google's own SSH \
endpoint of the runtime. This one only shows the VM's GPU, runs and pulled folders. \
Nothing is installed or opened.
""",
}


def about(values: Mapping[str, Any]) -> str:
    """The first cell."""
    title = f"# {values['name']}: let colab-devsync in to this VM\n"
    steps = _STEPS[values["provider"]]
    again = "Run any cell again whenever you like: what runs already is left alone.\n"
    return "\n".join([title, steps, again, _TERMS])
