"""The application answers early: what takes long to import is imported when it is used."""

import subprocess
import sys

HEAVY = (
    "sqlalchemy",
    "llama_stack",
    "mcp",
    "kubernetes_asyncio",
    "jwt",
    "jsonpath_ng",
    "httpx",
    "aiohttp",
    "faiss",
)


def test_nothing_heavy_is_imported_with_the_application() -> None:
    code = f"import sys, lightspeed.app; print([name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
