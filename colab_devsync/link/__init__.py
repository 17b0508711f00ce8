"""Ways in to the VM, and SSH itself. Start reading at base.py and providers.py."""

import sys

# paramiko would import it for `Match exec` in a configuration of ssh, which we never
# read through it: eighty modules and 4 MB.
sys.modules.setdefault("invoke", None)  # type: ignore[arg-type]
