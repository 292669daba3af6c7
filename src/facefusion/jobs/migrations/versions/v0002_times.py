"""When an item was taken and finished, so that anyone can tell how fast a job goes."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns."""
    for name in ("claimed_at", "finished_at"):
        op.add_column("items", sa.Column(name, sa.Float, nullable=False, server_default="0"))
    op.create_index("jobs_by_age", "jobs", ["created_at", "id"])


def downgrade() -> None:
    """Take them away."""
    op.drop_index("jobs_by_age", "jobs")
    for name in ("claimed_at", "finished_at"):
        op.drop_column("items", name)
