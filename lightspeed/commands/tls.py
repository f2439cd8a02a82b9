"""Whether the files of TLS can be used, found out before anything listens."""

import ssl
from collections.abc import Iterator

from lightspeed.configuration.service import TLSConfiguration


def tls_problems(tls: TLSConfiguration) -> Iterator[str]:
    """What keeps certificate and key from being loaded, as lines that begin with the section."""
    if tls.tls_certificate_path is None or tls.tls_key_path is None:
        return
    try:
        password = tls.tls_key_password.read_text(encoding="utf-8").strip() if tls.tls_key_password else ""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(tls.tls_certificate_path, tls.tls_key_path, password=lambda: password)
    except ssl.SSLError as error:
        reason = (
            error.reason.lower().replace("_", " ") if error.reason else "no PEM files, or a wrong password"
        )
        yield f"service.tls_config: certificate and key cannot be loaded: {reason}"
    except (OSError, UnicodeDecodeError) as error:
        yield f"service.tls_config: certificate and key cannot be loaded: {type(error).__name__}"
