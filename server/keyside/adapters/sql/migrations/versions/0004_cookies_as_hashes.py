"""Cookies as hashes.

Until now the cookie held the id of its sign-in, and the secret that signed it stood in the same database: whoever had a
copy could make cookies. Both are given up, so every browser has to sign in once more.
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("DELETE FROM meta WHERE key = 'cookie_secret'")
    op.drop_table("signin")
    op.create_table(
        "signin",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("hash", sa.String(), nullable=False),
        sa.Column("user_id", sa.Integer(), nullable=False),
        sa.Column("agent", sa.String(), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("expires_at", sa.Float(), nullable=False),
        sa.Column("revoked_at", sa.Float(), nullable=True),
        sa.ForeignKeyConstraint(["user_id"], ["user.id"]),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("hash"),
    )
    op.create_index("ix_signin_user_id", "signin", ["user_id"], unique=False)


def downgrade() -> None:
    raise NotImplementedError("the sign-ins of an older version are gone")
