"""What the server is told to say, and what it was asked."""

import itertools
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from tests.scripted_model.error import ApiError
from tests.scripted_model.reply import Reply

type Answer = Reply | Callable[[dict[str, Any]], Reply]

CHAT = "/v1/chat/completions"


@dataclass(slots=True)
class Received:
    """A request. `headers` have lower-case names; `body` is the parsed JSON, None without one."""

    method: str
    path: str
    headers: dict[str, str]
    body: Any
    raw: bytes
    reply: Reply | None = None


@dataclass(slots=True)
class _Waiter:
    path: str
    number: int
    future: Future[Received] = field(default_factory=Future)


class Script:
    """Answers in order: the first rule that matches, else the queue, else the default. Thread-safe."""

    def __init__(self, default: Answer, *, record: bool) -> None:
        self.default = default
        self.queue: deque[Answer] = deque()
        self.rules: list[tuple[Callable[[dict[str, Any]], bool], Answer]] = []
        self.failures: dict[str, ApiError] = {}
        self.requests: list[Received] = []
        self.numbers = itertools.count(1)
        self._record = record
        self._lock = threading.Lock()
        self._waiters: list[_Waiter] = []

    def answer(self, body: dict[str, Any]) -> Reply:
        for matches, answer in self.rules:
            if matches(body):
                return _resolve(answer, body)
        try:
            answer = self.queue.popleft()
        except IndexError:
            answer = self.default
        return _resolve(answer, body)

    def record(self, request: Received) -> None:
        if not self._record:
            return
        with self._lock:
            self.requests.append(request)
            self._wake()

    def expect(self, number: int, path: str) -> Future[Received]:
        """The future of request `number` (from 1) to `path`."""
        waiter = _Waiter(path, number)
        with self._lock:
            self._waiters.append(waiter)
            self._wake()
        return waiter.future

    def _wake(self) -> None:
        waiting = []
        for waiter in self._waiters:
            matching = [request for request in self.requests if request.path == waiter.path]
            if len(matching) >= waiter.number:
                waiter.future.set_result(matching[waiter.number - 1])
            else:
                waiting.append(waiter)
        self._waiters = waiting


def _resolve(answer: Answer, body: dict[str, Any]) -> Reply:
    return answer if isinstance(answer, Reply) else answer(body)
