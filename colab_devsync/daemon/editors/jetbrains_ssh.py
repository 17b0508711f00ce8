"""`.idea/sshConfigs.xml`, `webServers.xml`, `deployment.xml`. Pure.

What PyCharm Professional needs for an SSH interpreter and its remote file browser. The
port on 127.0.0.1 stays the same when the VM is replaced, and so do our identifiers: an
interpreter that was made once goes on working.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from functools import partial
from xml.etree.ElementTree import Element

from .model import Facts, File
from .xml_tree import (
    component,
    element,
    find_or_add,
    new_project_file,
    option,
    xml_merge,
)

_SPACE = uuid.UUID("6f9b1a52-3f0e-5d4c-9a77-52d0c1a6e0b4")  # ours, for uuid5


def ssh_files(facts: Facts) -> list[File]:
    return [
        _file(facts, "sshConfigs.xml", _ssh_config, "the VM as an SSH host"),
        _file(facts, "webServers.xml", _web_server, "its files, over SFTP"),
        _file(facts, "deployment.xml", _deployment, "where the project is there"),
    ]


def identifier(facts: Facts, kind: str) -> str:
    """The same for the same alias, on every machine."""
    return str(uuid.uuid5(_SPACE, f"{kind}:{facts.alias}"))


def _ssh_config(facts: Facts, root: Element) -> None:
    configs = find_or_add(component(root, "SshConfigs"), "configs", {})
    mine = find_or_add(configs, "sshConfig", {"id": identifier(facts, "ssh")})
    if mine.get("nameFormat") is None:  # new; later, how to log in is the user's
        if facts.identity_file and facts.ssh_host != facts.alias:
            mine.set("authType", "KEY_PAIR")
            mine.set("keyPath", facts.identity_file)
        else:
            mine.set("authType", "OPEN_SSH")
        mine.set("nameFormat", "CUSTOM")
        mine.set("customName", facts.alias)
        mine.append(option("customName", facts.alias))
        mine.set("useOpenSSHConfig", "true")
    mine.set("host", facts.ssh_host)
    mine.set("port", str(facts.ssh_port))
    mine.set("username", facts.ssh_user)


def _web_server(facts: Facts, root: Element) -> None:
    servers = find_or_add(
        component(root, "WebServers"), "option", {"name": "servers"}, option("servers")
    )
    key = {"id": identifier(facts, "server"), "name": facts.alias}
    mine = find_or_add(
        servers, "webServer", {"id": key["id"]}, element("webServer", key)
    )
    transfer = find_or_add(mine, "fileTransfer", {}, _transfer())
    how, mark, other = ("agent", "authAgent", "keyPair")
    if _by_key(facts):
        how, mark, other = ("key", "keyPair", "authAgent")
    where = f"{facts.ssh_user}@{facts.ssh_host}:{facts.ssh_port}"
    transfer.set("rootFolder", facts.remote_root)
    transfer.set("host", facts.ssh_host)
    transfer.set("port", str(facts.ssh_port))
    transfer.set("sshConfigId", identifier(facts, "ssh"))
    transfer.set("sshConfig", f"{where} {how}")
    transfer.set(mark, "true")
    transfer.attrib.pop(other, None)  # of the time before there was an alias


def _by_key(facts: Facts) -> bool:
    return bool(facts.identity_file) and facts.ssh_host != facts.alias


def _transfer() -> Element:
    advanced = {
        "dataProtectionLevel": "Private",
        "keepAliveTimeout": "0",
        "passiveMode": "true",
        "shareSSLContext": "true",
    }
    inner = element("advancedOptions", advanced)
    return element(
        "fileTransfer", {"accessType": "SFTP"}, element("advancedOptions", {}, inner)
    )


def _deployment(facts: Facts, root: Element) -> None:
    data = component(root, "PublishConfigData")
    if data.get("serverName") in (None, facts.alias):
        # The project's default server is ours, or there was none.
        data.set("serverName", facts.alias)
        data.set("remoteFilesAllowedToDisappearOnAutoupload", "false")
        _auto_upload(facts, data)
    servers = find_or_add(data, "serverData", {})
    find_or_add(servers, "paths", {"name": facts.alias}, _paths(facts))


def _auto_upload(facts: Facts, data: Element) -> None:
    """Two writers would disturb each other; both absent means never."""
    chosen = [
        one for one in data.findall("option") if one.get("name") == "myAutoUpload"
    ]
    if facts.upload_by == "pycharm":
        data.set("autoUpload", "Always")
        data.set("autoUploadExternalChanges", "true")
        wanted = chosen[0] if chosen else option("myAutoUpload")
        wanted.set("value", "ALWAYS")
        if not chosen:
            data.append(wanted)
        return
    for name in ("autoUpload", "autoUploadExternalChanges"):
        data.attrib.pop(name, None)
    for one in chosen:
        data.remove(one)


def _paths(facts: Facts) -> Element:
    mapping = {"deploy": "/", "local": "$PROJECT_DIR$", "web": "/"}
    local = [
        element("excludedPath", {"local": "true", "path": f"$PROJECT_DIR$/{name}"})
        for name in (".git", ".idea", ".venv")
    ]
    remote = element("excludedPath", {"path": "/.colab-devsync"})
    data = element(
        "serverdata",
        {},
        element("mappings", {}, element("mapping", mapping)),
        element("excludedPaths", {}, *local, remote),
    )
    return element("paths", {"name": facts.alias}, data)


def _file(
    facts: Facts, name: str, change: Callable[[Facts, Element], None], what: str
) -> File:
    bound = partial(change, facts)
    path = facts.places.project / ".idea" / name
    return File(path, new_project_file(bound), what, merge=xml_merge(bound))
