"""From a block of the configuration file to a database."""

from sqlalchemy import URL

from lightspeed.configuration.storage import PostgreSQLDatabaseConfiguration, SQLiteDatabaseConfiguration
from lightspeed.errors import ConfigurationError
from lightspeed.storage.database import Database


def database_for(
    configuration: SQLiteDatabaseConfiguration | PostgreSQLDatabaseConfiguration,
) -> Database:
    """The database that a block names; nothing is opened yet. Raises ConfigurationError."""
    if isinstance(configuration, SQLiteDatabaseConfiguration):
        return Database.at(configuration.db_path)
    if configuration.ssl_mode == "verify-ca" and configuration.ca_cert_path is None:
        # With the authorities of the system, this mode would trust anyone who owns some domain.
        raise ConfigurationError("ca_cert_path: is required by `ssl_mode: verify-ca`")
    # Imported where it is used: most installations never need it.
    from lightspeed.storage.postgresql import PostgresqlConnections, PostgresqlSettings

    url = URL.create(
        "postgresql+asyncpg",
        username=configuration.user,
        password=configuration.password.get_secret_value(),
        host=configuration.host,
        port=configuration.port,
        database=configuration.db,
    )
    settings = PostgresqlSettings(
        namespace=configuration.namespace,
        ssl_mode=configuration.ssl_mode,
        ca_certificates=configuration.ca_cert_path,
    )
    return Database(url, PostgresqlConnections(url, settings))
