"""Who made a vector store, and who uploaded a file."""

import sqlalchemy as sa
from alembic.operations import Operations

revision = "0003"
down_revision = "0002"


def upgrade(op: Operations) -> None:
    op.create_table(
        "lightspeed_vector_stores",
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("user_id", sa.Text, nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.BigInteger),
        sa.PrimaryKeyConstraint("id", name="pk_lightspeed_vector_stores"),
    )
    op.create_index(
        "ix_lightspeed_vector_stores_user_id_created_at_id",
        "lightspeed_vector_stores",
        ["user_id", "created_at", "id"],
    )
    op.create_table(
        "lightspeed_files",
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("user_id", sa.Text, nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("filename", sa.Text, nullable=False),
        sa.Column("bytes", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_lightspeed_files"),
    )
    op.create_index(
        "ix_lightspeed_files_user_id_created_at_id", "lightspeed_files", ["user_id", "created_at", "id"]
    )
    op.create_index("ix_lightspeed_files_created_at_id", "lightspeed_files", ["created_at", "id"])
