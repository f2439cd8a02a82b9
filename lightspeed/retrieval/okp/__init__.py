"""The Offline Knowledge Portal: documents in Apache Solr, found by words and by meaning, over HTTP."""
