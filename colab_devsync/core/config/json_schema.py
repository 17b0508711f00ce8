"""The JSON Schema of `.colabremote.toml`, for editors' TOML plug-ins.

Draft 4, because that is what Even Better TOML speaks. Derived from the schema; pure.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import MISSING
from typing import Any

from .formats import Format
from .introspect import KeyInfo, TableInfo, tables
from .schema import CONFIG_NAME


def json_schema() -> str:
    """The schema as text; every key has its description."""
    properties = _root_properties()
    profile = _object("Overrides any table; chosen with `--profile NAME`.", properties)
    profiles = {
        "type": "object",
        "description": "Variations of this file, as in [profiles.gpu2.link].",
        "additionalProperties": {"$ref": "#/definitions/profile"},
    }
    schema = {
        "$schema": "http://json-schema.org/draft-04/schema#",
        "title": CONFIG_NAME,
        **_object(
            "A project that colab-devsync mirrors to a Colab VM.",
            {**properties, "profiles": profiles},
        ),
        "definitions": {
            **{name: _table_schema(table) for name, table in tables().items() if name},
            "profile": profile,
        },
    }
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def _object(description: str, properties: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "description": description,
        "properties": properties,
        "additionalProperties": False,
    }


def _root_properties() -> dict[str, Any]:
    properties: dict[str, Any] = {
        name: _key_schema(key) for name, key in tables()[""].keys.items()
    }
    for name, table in tables().items():
        reference = {"$ref": f"#/definitions/{name}"}
        if name and table.repeated:
            properties[name] = {
                "type": "array",
                "description": table.doc,
                "items": reference,
            }
        elif name:
            properties[name] = reference
    return properties


def _table_schema(table: TableInfo) -> dict[str, Any]:
    schema = _object(
        table.doc, {name: _key_schema(key) for name, key in table.keys.items()}
    )
    required = [name for name, key in table.keys.items() if key.required]
    if required:
        schema["required"] = required
    if table.name == "run":
        schema["not"] = {"required": ["entry", "module"]}
    return schema


_TYPES: Mapping[str, Any] = {
    "boolean": "boolean",
    "integer": "integer",
    "number": "number",
    "size": ["integer", "string"],
    "text": "string",
    "list": "array",
    "table": "object",
}


def _key_schema(key: KeyInfo) -> dict[str, Any]:
    about = key.about
    schema: dict[str, Any] = {"description": _sentences(key)}
    if key.kind == "choice":
        schema["enum"] = list(key.choices)
    else:
        schema["type"] = _TYPES[key.kind]
    if key.kind == "list":
        schema["items"] = _text_schema(about.format)
    elif key.kind == "table":
        name = about.names.pattern if about.names else ""
        schema["patternProperties"] = {name: _text_schema(about.format)}
        schema["additionalProperties"] = False
    elif about.format:
        schema["pattern"] = about.format.pattern
    if about.minimum is not None:
        schema["minimum"] = about.minimum
    if about.maximum is not None:
        schema["maximum"] = about.maximum
    if key.default not in (MISSING, None) and not about.default:
        schema["default"] = _plain(key.default)
    return schema


def _text_schema(format: Format | None) -> dict[str, Any]:
    return {"type": "string", **({"pattern": format.pattern} if format else {})}


def _sentences(key: KeyInfo) -> str:
    text = key.about.doc
    if key.about.providers:
        text += " Only for " + " and ".join(key.about.providers) + "."
    if key.default_text:
        text += f" Default: {key.default_text}."
    return text


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
