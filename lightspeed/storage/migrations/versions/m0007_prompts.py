"""Templates, and texts that users keep."""

import sqlalchemy as sa
from alembic.operations import Operations

revision = "0007"
down_revision = "0006"


def upgrade(op: Operations) -> None:
    op.create_table(
        "lightspeed_prompts",
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("version", sa.Integer, nullable=False, autoincrement=False),
        sa.Column("user_id", sa.Text, nullable=False),
        sa.Column("prompt", sa.Text, nullable=False),
        sa.Column("variables", sa.JSON, nullable=False),
        sa.Column("is_default", sa.Boolean, nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", "version", name="pk_lightspeed_prompts"),
    )
    op.create_table(
        "lightspeed_saved_prompts",
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("user_id", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("content", sa.Text, nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_lightspeed_saved_prompts"),
    )
    op.create_index(
        "ix_lightspeed_saved_prompts_user_id_created_at_id",
        "lightspeed_saved_prompts",
        ["user_id", "created_at", "id"],
    )
    op.create_index(
        "ix_lightspeed_saved_prompts_user_id_name",
        "lightspeed_saved_prompts",
        ["user_id", "name"],
        unique=True,
    )
