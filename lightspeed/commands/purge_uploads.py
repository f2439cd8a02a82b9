"""Erasing the vector stores and files of a user. The stack keeps them, so it is started for that."""

import os
from dataclasses import replace
from pathlib import Path

from lightspeed.configuration.root import Configuration
from lightspeed.plan import read_plan
from lightspeed.services import start_stack
from lightspeed.stack.run_configuration import for_knowledge_only
from lightspeed.storage.erasure import ErasedData
from lightspeed.storage.ownership import Ownership

_AT_ONCE = 100


async def erase_uploads(
    configuration: Configuration, source: Path, ownership: Ownership, user_id: str
) -> ErasedData:
    """Rows go last: whoever is cut off finds them still, and can erase again.

    Raises ConfigurationError, StartupError, StorageError.
    """
    plan = read_plan(configuration, source, os.environ)
    needed = replace(plan, run_configuration=for_knowledge_only(plan.run_configuration))
    stack = await start_stack(needed, lambda _: None)
    try:
        stores, files = stack.vector_stores, stack.files
        erased = ErasedData()
        for owned in await ownership.stores(user_id):
            await stores.delete(owned.id)
            erased += ErasedData(stores=int(await ownership.remove_store(owned.id)))
        while found := await ownership.files(user_id, limit=_AT_ONCE):
            for file in found:
                await files.delete(file.id)
                erased += ErasedData(files=int(await ownership.remove_file(file.id)))
        return erased
    finally:
        await stack.close()
