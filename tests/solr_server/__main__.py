"""`python -m tests.solr_server`: the small portal as a process; its address is the first line that it prints."""

import argparse
import socket

import uvicorn

from tests.solr_server.server import SolrServer, server_config


def main() -> None:
    parser = argparse.ArgumentParser(description="A small Solr with documents like those of the portal.")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--collection", default="portal-rag")
    options = parser.parse_args()
    listener = socket.create_server(("127.0.0.1", options.port), backlog=128)
    server = SolrServer(collection=options.collection, port=listener.getsockname()[1])
    print(server.base_url, flush=True)
    uvicorn.Server(server_config(server.app)).run([listener])


if __name__ == "__main__":
    main()
