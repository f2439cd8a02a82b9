"""Turns that wait for a person, and what the person decides."""

import sqlalchemy as sa
from alembic.operations import Operations

revision = "0006"
down_revision = "0005"


def upgrade(op: Operations) -> None:
    op.create_table(
        "lightspeed_paused_turns",
        sa.Column("request_id", sa.Text, nullable=False),
        sa.Column("conversation_id", sa.Text, nullable=False),
        sa.Column("user_id", sa.Text, nullable=False),
        sa.Column("state", sa.JSON, nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("resumed_by", sa.Text),
        sa.Column("resumed_until", sa.DateTime(timezone=True)),
        sa.PrimaryKeyConstraint("request_id", name="pk_lightspeed_paused_turns"),
    )
    op.create_index(
        "ix_lightspeed_paused_turns_conversation_id", "lightspeed_paused_turns", ["conversation_id"]
    )
    op.create_index("ix_lightspeed_paused_turns_expires_at", "lightspeed_paused_turns", ["expires_at"])
    op.create_index("ix_lightspeed_paused_turns_user_id", "lightspeed_paused_turns", ["user_id"])
    op.create_table(
        "lightspeed_approvals",
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("request_id", sa.Text, nullable=False),
        sa.Column("conversation_id", sa.Text, nullable=False),
        sa.Column("user_id", sa.Text, nullable=False),
        sa.Column("server_label", sa.Text, nullable=False),
        sa.Column("tool_name", sa.Text, nullable=False),
        sa.Column("arguments", sa.JSON, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("decision_reason", sa.Text),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("decided_at", sa.DateTime(timezone=True)),
        sa.PrimaryKeyConstraint("id", name="pk_lightspeed_approvals"),
    )
    op.create_index("ix_lightspeed_approvals_conversation_id", "lightspeed_approvals", ["conversation_id"])
    op.create_index("ix_lightspeed_approvals_request_id", "lightspeed_approvals", ["request_id"])
    op.create_index(
        "ix_lightspeed_approvals_status_expires_at", "lightspeed_approvals", ["status", "expires_at"]
    )
    op.create_index("ix_lightspeed_approvals_user_id_status", "lightspeed_approvals", ["user_id", "status"])
