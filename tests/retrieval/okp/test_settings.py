"""What the configuration and the environment say of the portal."""

import pytest

from lightspeed.configuration.rag import OkpConfiguration
from lightspeed.errors import ConfigurationError
from lightspeed.retrieval.okp.settings import PortalSettings


def read(environment: dict[str, str] | None = None, **okp: object) -> PortalSettings:
    return PortalSettings.read(OkpConfiguration.model_validate(okp), environment or {})


def test_defaults() -> None:
    settings = read()
    assert settings.solr_url == "http://localhost:8081/solr"
    assert (settings.collection, settings.fields.vector, settings.fields.content) == (
        "portal-rag",
        "chunk_vector",
        "chunk",
    )
    assert settings.embedding_model == "sentence-transformers/ibm-granite/granite-embedding-30m-english"
    assert settings.embedding_dimension == 384
    assert settings.credentials is None
    assert settings.chunk_filter == "is_chunk:true"


def test_the_environment_names_collection_fields_and_model() -> None:
    settings = read(
        {
            "SOLR_COLLECTION": "portal",
            "SOLR_VECTOR_FIELD": "vec",
            "SOLR_CONTENT_FIELD": "text",
            "SOLR_EMBEDDING_MODEL": "st/other",
            "SOLR_EMBEDDING_DIM": "768",
        }
    )
    assert (settings.collection, settings.fields.vector, settings.fields.content) == ("portal", "vec", "text")
    assert (settings.embedding_model, settings.embedding_dimension) == ("st/other", 768)


def test_an_empty_variable_is_not_set() -> None:
    assert read({"SOLR_COLLECTION": "", "SOLR_EMBEDDING_DIM": " "}) == read()


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("SOLR_COLLECTION", "../admin"),
        ("SOLR_COLLECTION", "portal/update"),
        ("SOLR_VECTOR_FIELD", "v topK=9}"),
        ("SOLR_CONTENT_FIELD", "a,b"),
        ("SOLR_EMBEDDING_DIM", "many"),
        ("SOLR_EMBEDDING_DIM", "0"),
        ("SOLR_EMBEDDING_DIM", "-3"),
        ("SOLR_EMBEDDING_DIM", "²"),
    ],
)
def test_a_wrong_variable_is_named(variable: str, value: str) -> None:
    with pytest.raises(ConfigurationError, match=variable):
        read({variable: value})


def test_all_wrong_variables_are_named_at_once() -> None:
    with pytest.raises(ConfigurationError) as error:
        read({"SOLR_COLLECTION": "a b", "SOLR_EMBEDDING_DIM": "x"})
    assert len(error.value.problems) == 2


def test_credentials_are_taken_out_of_the_address() -> None:
    settings = read(rhokp_url="http://reader:p%40ss@portal.example:8080/okp/")
    assert settings.solr_url == "http://portal.example:8080/okp/solr"
    assert settings.credentials == ("reader", "p@ss")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("product:*openshift*", "is_chunk:true AND product:*openshift*"),
        ("-product:rhel", "is_chunk:true AND -product:rhel"),
        ("product:a OR product:b", "is_chunk:true AND (product:a OR product:b)"),
        ("product:a || product:b", "is_chunk:true AND (product:a || product:b)"),
        ("product:ORACLE", "is_chunk:true AND product:ORACLE"),
        ("  ", "is_chunk:true"),
    ],
)
def test_the_filter_on_chunks(value: str, expected: str) -> None:
    assert read(chunk_filter_query=value).chunk_filter == expected
