"""A Llama Stack that runs as a server of its own, spoken to over HTTP."""
