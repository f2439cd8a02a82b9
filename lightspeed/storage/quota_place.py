"""Where balances and token history are kept."""

from collections.abc import Mapping

from lightspeed.configuration.root import Configuration
from lightspeed.configuration.storage import PostgreSQLDatabaseConfiguration, SQLiteDatabaseConfiguration
from lightspeed.identity.quota import Limit
from lightspeed.storage.connecting import database_for
from lightspeed.storage.database import Database
from lightspeed.storage.quotas import Quotas

type Place = SQLiteDatabaseConfiguration | PostgreSQLDatabaseConfiguration


def configured_quotas(configuration: Configuration, known: Mapping[Place, Database]) -> Quotas | None:
    """None if nothing is to be counted. Raises ConfigurationError.

    `known` are the databases that there are already, the main one among them: where the places are the same, so are
    the databases. The database of the result may be a new one, which is to be opened and closed like the others.
    """
    handlers = configuration.quota_handlers
    if not handlers.limiters and not handlers.enable_token_history:
        return None
    main = configuration.database.sqlite or configuration.database.postgres
    place = handlers.sqlite or handlers.postgres or main
    assert place is not None, "a loaded configuration names a main database"
    return Quotas(
        known[place] if place in known else database_for(place),
        [Limit.read(limiter) for limiter in handlers.limiters],
        keeps_history=handlers.enable_token_history,
    )
