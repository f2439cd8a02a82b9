"""Documents as the portal has them: one for the whole text, one for each chunk of it."""

from collections.abc import Sequence
from typing import Any

from tests.scripted_model.embedding import embed

type Document = dict[str, Any]

DIMENSION = 384


def article(
    name: str,
    title: str,
    chunks: Sequence[str | tuple[str, str]],
    *,
    tokens: int | None = None,
    dimension: int = DIMENSION,
    **fields: Any,
) -> list[Document]:
    """A document and its chunks; a chunk is a text, or headings and a text. `tokens` are those of each chunk."""
    parts = [("", chunk) if isinstance(chunk, str) else chunk for chunk in chunks]
    counts = [tokens or len(text.split()) for _, text in parts]
    whole: Document = {
        "id": name,
        "is_chunk": False,
        "doc_id": f"doc-{name}",
        "title": title,
        "source_path": f"/documentation/{name}/index.html",
        "reference_url": f"https://docs.example.com/{name}",
        "total_chunks": len(parts),
        "total_tokens": sum(counts),
        **fields,
    }
    pieces: list[Document] = []
    for index, ((headings, text), count) in enumerate(zip(parts, counts, strict=True)):
        piece: Document = {
            "id": f"{name}_chunk_{index}",
            "is_chunk": True,
            "parent_id": name,
            "chunk_index": index,
            "num_tokens": count,
            "chunk": text,
            "chunk_vector": embed(text, dimension),
            "title": title,
            **{key: value for key, value in fields.items() if key in ("product", "version")},
        }
        if headings:
            piece["headings"] = headings
        pieces.append(piece)
    return [whole, *pieces]


PORTAL: list[Document] = [
    *article(
        "etcd-backup",
        "Backing up etcd",
        [
            ("Backup", "An etcd snapshot holds the state of the cluster."),
            ("Backup", "Run the backup script on one control plane node to take a snapshot of etcd."),
            ("Backup", "The snapshot and the static pod resources are written to one directory."),
            ("Restore", "To restore etcd stop the static pods and run the restore script."),
        ],
        product="openshift",
        version="4.16",
    ),
    *article(
        "node-drain",
        "Draining a node",
        [
            "Mark the node as unschedulable before maintenance.",
            "Drain the node so that its pods move to other nodes.",
            "When the node is back mark it as schedulable.",
        ],
        product="openshift",
        version="4.14",
    ),
    *article(
        "selinux",
        "Changing SELinux modes",
        ["Set SELinux to permissive mode with setenforce 0.", "Edit the SELinux configuration and reboot."],
        product="rhel",
        version="9",
    ),
]
