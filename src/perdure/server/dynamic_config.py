"""`--dynamic-config-value KEY=JSON`: settings under the names that Temporal's server gives them.

A few mean something here; the others are logged and passed over, since test suites and scripts set switches of that server which
this engine has no need of.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from perdure.engine.settings import EngineSettings
from perdure.model.errors import ConfigError

__all__ = ["settings_from"]

logger = logging.getLogger("perdure.server")

_SETTINGS = {
    "limit.historycount.suggestcontinueasnew": "suggest_events",
    "limit.blobsize.error": "payload_bytes_max",
}
"""Temporal's name, in lower case since its case does not count; the name here. All are positive whole numbers."""


def settings_from(values: Iterable[str]) -> EngineSettings:
    """The settings that `KEY=JSON` values come to. Raises ConfigError for one that cannot be understood."""
    settings = EngineSettings()
    for text in values:
        key, separator, value = text.partition("=")
        if not separator or not key:
            raise ConfigError(f"--dynamic-config-value is {text!r}; write it as KEY=JSON", field="dynamic_config_value")
        name = _SETTINGS.get(key.lower())
        if name is None:
            logger.info("dynamic config %s has no meaning here and is passed over", key)
        else:
            settings = replace(settings, **{name: _positive(key, value)})
    return settings


def _positive(key: str, value: str) -> int:
    try:
        number: Any = json.loads(value)
    except ValueError:
        number = None
    if type(number) is not int or number <= 0:
        raise ConfigError(f"dynamic config {key} is {value}; it must be a whole number above 0", field="dynamic_config_value")
    return number
