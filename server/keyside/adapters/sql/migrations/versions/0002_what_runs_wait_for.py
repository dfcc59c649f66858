"""What runs wait for.

Columns for what is searched for among runs: deadline, executor, channel, and whether a process has the run in hand.
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

# Rows of this time hold JSON without a version: `ask`, `seat`, `tried`, `since`, `created_at` and so on. A queued run
# waits for a day, or as long as its caller said, and those that did not take it are asked again 10 seconds later for
# each attempt; an interrupted run can come back for a day.
FILL = """
UPDATE run SET
    held = state IN ('offered', 'streaming', 'suspended')
        OR (state = 'queued' AND coalesce(json_extract(body, '$.ask.caller'), 0)),
    deadline = CASE
        WHEN state = 'queued' THEN min(
            json_extract(body, '$.created_at')
                + min(86400, coalesce(nullif(json_extract(body, '$.ask.wait_seconds'), 0), 86400)),
            CASE json_array_length(body, '$.tried')
                WHEN 0 THEN 9e999
                ELSE json_extract(body, '$.since') + 10 * json_extract(body, '$.attempt')
                END)
        WHEN state = 'interrupted' AND open = 1 THEN json_extract(body, '$.since') + 86400
        END,
    executor = CASE WHEN open = 1 THEN json_extract(body, '$.seat.key') END,
    channel = json_extract(body, '$.channel')
"""

PARTIAL = {
    "run_open": ("chat_id", "open = 1"),
    "run_state": ("state", "open = 1"),
    "run_held": ("held", "held = 1"),
    "run_deadline": ("deadline", "deadline IS NOT NULL"),
    "run_executor": ("executor", "executor IS NOT NULL"),
    "run_channel": ("channel", "channel IS NOT NULL"),
}


def upgrade() -> None:
    op.add_column("run", sa.Column("held", sa.Boolean(), nullable=False, server_default=sa.text("0")))
    op.add_column("run", sa.Column("deadline", sa.Float(), nullable=True))
    op.add_column("run", sa.Column("executor", sa.String(), nullable=True))
    op.add_column("run", sa.Column("channel", sa.String(), nullable=True))
    op.execute(FILL)
    op.drop_index("run_open", "run")
    for name, (column, where) in PARTIAL.items():
        op.create_index(name, "run", [column], unique=False, sqlite_where=sa.text(where))
    op.create_index("run_user_state", "run", ["user_id", "state"], unique=False, sqlite_where=sa.text("open = 1"))
    op.create_index("message_parent", "message", ["chat_id", "parent_id"], unique=False)
    op.create_index("chat_hidden", "chat", ["updated_at"], unique=False, sqlite_where=sa.text("hidden = 1"))


def downgrade() -> None:
    raise NotImplementedError("an older version does not know how runs are stored since")
