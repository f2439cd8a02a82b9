"""Pages of a list, as the OpenAI API asks for them."""

from collections.abc import Callable, Sequence
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from lightspeed.errors import NotFound

Order = Literal["asc", "desc"]
# An empty one is as none: a form sends it so.
Cursor = Annotated[str | None, BeforeValidator(lambda given: given or None)]


class PageQuery(BaseModel):
    """Which part of a list is wanted; without any of these it is the newest 20 entries."""

    model_config = ConfigDict(extra="ignore")

    limit: int = Field(20, ge=1, le=100, description="At most so many.")
    order: Order = Field("desc", description="By the time of creation; `desc` is newest first.")
    after: Cursor = Field(None, description="The page that follows the entry with this id.")
    before: Cursor = Field(None, description="The page that ends just before the entry with this id.")


class PageInfo(BaseModel):
    """What stands beside the entries of a page."""

    has_more: bool = Field(False, description="Whether there are entries beyond this page.")
    first_id: str | None = None
    last_id: str | None = None


def page[T](
    entries: Sequence[T], query: PageQuery, identifier: Callable[[T], str], *, resource: str
) -> tuple[list[T], bool]:
    """The wanted part of a list that stands in the wanted order, and whether there is more in that direction.

    Raises NotFound if `after` or `before` is not the id of an entry.
    """
    places = {identifier(entry): place for place, entry in enumerate(entries)}

    def place(cursor: str) -> int:
        if cursor not in places:
            raise NotFound(resource, cursor)
        return places[cursor]

    start = 0 if query.after is None else place(query.after) + 1
    end = len(entries) if query.before is None else place(query.before)
    if query.before is not None and query.after is None:
        return list(entries[max(end - query.limit, 0) : end]), end > query.limit
    return list(entries[start:end][: query.limit]), end - start > query.limit
