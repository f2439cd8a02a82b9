"""Why a connection to a server was not made, from the errors that lie below the one of the HTTP client."""

import socket
import ssl
from collections.abc import Iterator


def why_unreachable(error: BaseException) -> str | None:
    """What kept the connection from being made, as in `the connection was refused`; None if no error below tells.

    Clients do not agree on what to call this: with aiohttp below httpx, a refused connection is a timeout.
    """
    for cause in _chain(error):
        match cause:
            case ssl.SSLCertVerificationError():
                return "its certificate is not trusted"
            case ssl.SSLError():
                return "it does not speak TLS as expected"
            case socket.gaierror():
                return "its host name is not known"
            case ConnectionRefusedError():
                return "the connection was refused"
    return None


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    following: BaseException | None = error
    while following is not None and id(following) not in seen:
        seen.add(id(following))
        yield following
        following = following.__cause__ or following.__context__
