"""A small Solr with the Offline Knowledge Portal's request handlers, over real HTTP.

    with SolrServer(PORTAL) as solr:
        okp = OkpConfiguration(rhokp_url=solr.base_url)

It filters by Lucene's rules, scores words and vectors, and can be told to fail. `python -m tests.solr_server` runs it
as a process. Its vectors are those of the scripted embedding model.
"""

from tests.solr_server.collection import Refused, SolrCollection
from tests.solr_server.corpus import PORTAL, article
from tests.solr_server.server import Received, SolrServer, Trouble

__all__ = ["PORTAL", "Received", "Refused", "SolrCollection", "SolrServer", "Trouble", "article"]
