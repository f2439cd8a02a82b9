"""Another process that records turns: URL, count, then ids of conversations. Prints a line for each turn.

Each conversation is begun by whoever is first.
"""

import asyncio
import sys

from lightspeed.storage.conversations import Conversations
from lightspeed.storage.database import Database
from tests.storage.turns import a_turn


async def main(url: str, count: int, conversation_ids: list[str]) -> None:
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    database = Database(url)
    await database.open()
    conversations = Conversations(database)

    async def record_each(conversation_id: str) -> None:
        for number in range(count // len(conversation_ids)):
            turn = await conversations.record(a_turn(conversation_id=conversation_id), begins=number == 0)
            assert turn is not None
            print(turn.conversation_id, turn.number, flush=True)

    await asyncio.gather(*map(record_each, conversation_ids))
    await database.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), sys.argv[3:]))
