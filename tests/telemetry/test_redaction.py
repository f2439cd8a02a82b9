import pytest

from lightspeed.telemetry.redaction import MASK, redact

SECRET = "s3cr3t-Value.42"


@pytest.mark.parametrize(
    "text",
    [
        f"Authorization: Bearer {SECRET}",
        f"authorization=Basic {SECRET}",
        f"{{'Authorization': 'Bearer {SECRET}'}}",
        f'"api_key": "{SECRET}"',
        f'\\"api_key\\": \\"{SECRET}\\"',
        f"OPENAI_API_KEY={SECRET}",
        f"X-API-Key: {SECRET}",
        f"[(b'authorization', b'Bearer {SECRET}')]",
        f"password='{SECRET}'",
        f"password={SECRET}, host=db",
        f"?access_token={SECRET}&x=1",
        f"postgresql://user:{SECRET}@db:5432/x",
        f"http://user:{SECRET}@host/",
        f"bearer {SECRET}",
        f"Cookie: {SECRET}",
        f"client_secret: {SECRET}",
    ],
)
def test_secrets_are_masked(text: str) -> None:
    redacted = redact(f"before {text} after")
    assert SECRET not in redacted
    assert "s3cr3t" not in redacted
    assert MASK in redacted
    assert redacted.startswith("before ")


@pytest.mark.parametrize(
    "token",
    [
        "sk-proj-abcdefghijklmnop",
        "ghp_abcdefghijklmnop1234",
        "hf_abcdefghijklmnopqrst",
        "AKIAIOSFODNN7EXAMPLE",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.abc-DEF_1",
    ],
)
def test_known_forms_are_masked_anywhere(token: str) -> None:
    assert redact(f"error at {token}: refused") == f"error at {MASK}: refused"


@pytest.mark.parametrize(
    "text",
    [
        "No token found in Authorization header",
        "Token has expired",
        "input_tokens=300 output_tokens: 5",
        "token_path=/run/secret",
        "basic authentication failed",
        "bearer authentication failed",
        "GET http://host:8080/v1/x@y 200",
        "task-force risk-free sk-8",
    ],
)
def test_ordinary_text_stays(text: str) -> None:
    assert redact(text) == text
