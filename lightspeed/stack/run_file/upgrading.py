"""Run configurations that were written for llama-stack 0.3 to 0.6, brought to what 0.7.3 reads."""

from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightspeed.stack.run_file.checking import without_repeated_stores
from lightspeed.stack.run_file.older_providers import upgrade_providers
from lightspeed.stack.run_file.older_resources import upgrade_resources
from lightspeed.stack.run_file.older_storage import upgrade_storage
from lightspeed.stack.run_file.tree import Tree

_RENAMED_APIS = {"agents": "responses"}
_GONE_APIS = frozenset({"telemetry", "post_training", "synthetic_data_generation", "memory"})
_KNOWN_KEYS = frozenset(
    {
        "version", "distro_name", "container_image", "apis", "providers", "storage",
        "registered_resources", "logging", "server", "external_providers_dir", "external_apis_dir",
        "vector_stores", "safety", "connectors",
    }
)  # fmt: skip
_GONE_KEYS = {
    "built_at": "tells how the former image was built",
    "conda_env": "tells how the former image was built",
    "docker_image": "tells how the former image was built",
    "telemetry": "is not part of the stack any more",
}


@dataclass(frozen=True, slots=True)
class Upgraded:
    """A run configuration for 0.7.3. `notices` has one line for each thing that was changed; none holds a value."""

    tree: Tree
    notices: tuple[str, ...]


def upgraded(tree: Mapping[str, Any], state: Path) -> Upgraded:
    """The same run configuration as 0.7.3 reads it; the given one is not changed.

    What is new already stays as it is. `state` is the folder of databases that the file does not place.
    """
    new = deepcopy(dict(tree))
    notices = [
        *_name(new),
        *_places(new),
        *_apis(new),
        *upgrade_providers(new),
        *without_repeated_stores(new),
        *upgrade_resources(new),
        *upgrade_storage(new, state),
        *_other_keys(new),
    ]
    return Upgraded(new, tuple(notices))


def _name(tree: Tree) -> Iterator[str]:
    old = tree.pop("image_name", None)
    if old is not None:
        yield "image_name: is `distro_name` now"
    tree["distro_name"] = tree.get("distro_name") or old or "lightspeed"


def _apis(tree: Tree) -> Iterator[str]:
    providers, apis = tree.get("providers"), tree.get("apis")
    named = set(providers) if isinstance(providers, dict) else set()
    named |= {api for api in apis if isinstance(api, str)} if isinstance(apis, list) else set()
    for old in sorted(named & set(_RENAMED_APIS)):
        yield f"apis: `{old}` is `{_RENAMED_APIS[old]}` now"
    for gone in sorted(named & _GONE_APIS):
        yield f"apis: `{gone}` is not part of the stack any more; left out"
    if isinstance(providers, dict):
        for old, new in _RENAMED_APIS.items():
            if isinstance(providers.get(old), list):
                providers[new] = [*(providers.get(new) or ()), *providers.pop(old)]
        for gone in _GONE_APIS & set(providers):
            del providers[gone]
    if isinstance(apis, list):
        renamed = [_RENAMED_APIS.get(api, api) if isinstance(api, str) else api for api in apis]
        tree["apis"] = [
            api
            for position, api in enumerate(renamed)
            if api not in renamed[:position] and not (isinstance(api, str) and api in _GONE_APIS)
        ]


def _places(tree: Tree) -> Iterator[str]:
    folder = tree.get("external_providers_dir")
    if isinstance(folder, str) and not Path(folder).expanduser().is_dir():
        del tree["external_providers_dir"]
        yield "external_providers_dir: there is no such folder; left out"
    elif folder is None:
        tree.pop("external_providers_dir", None)


def _other_keys(tree: Tree) -> Iterator[str]:
    if isinstance(tree.get("server"), dict):
        yield "server: has no effect, because no server of the stack is started"
    for key in [key for key in tree if key not in _KNOWN_KEYS]:
        value = tree.pop(key)
        if value not in (None, [], {}):
            yield f"{key}: {_GONE_KEYS.get(key, 'is not a key of the stack')}; has no effect"
