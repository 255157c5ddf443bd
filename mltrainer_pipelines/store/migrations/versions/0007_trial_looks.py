"""The ledger of looks: every scoring is a row that stays; scorecards of before are the first rows."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "trial_looks",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("looked_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("subject", sa.String(), nullable=False),
        sa.Column("timeframe", sa.String(), nullable=False),
        sa.Column("feature_set_version", sa.String(), nullable=True),
        sa.Column("data_fingerprint", sa.String(), nullable=True),
        sa.Column("first_session", sa.Date(), nullable=False),
        sa.Column("last_session", sa.Date(), nullable=True),
        sa.Column("cost_bps", sa.Float(), nullable=True),
        sa.Column("sessions", sa.Integer(), nullable=False),
        sa.Column("daily_sharpe", sa.Float(), nullable=True),
        sa.Column("quarters", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("requested_by", sa.String(), nullable=False),
        sa.Column("run_id", sa.String(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_trial_looks")),
    )
    op.execute(
        """INSERT INTO trial_looks (looked_at, subject, timeframe, feature_set_version, first_session, last_session, sessions,
                                    daily_sharpe, quarters, requested_by, run_id)
           SELECT s.scored_at, s.trial_id, t.timeframe, t.config->>'feature_set_version', (s.metrics->>'first_session')::date,
                  (s.metrics->>'last_session')::date, s.sessions, s.daily_sharpe,
                  (SELECT coalesce(jsonb_object_agg(q->>'quarter', q->'daily_mean'), '{}')
                     FROM jsonb_array_elements(s.metrics->'per_quarter') q),
                  t.proposed_by, s.dagster_run_id
           FROM trial_scorecards s JOIN trials t USING (trial_id)
           WHERE s.metrics ? 'first_session' AND s.metrics ? 'per_quarter' ORDER BY s.scored_at"""
    )
    op.execute(
        """CREATE FUNCTION keep_trial_looks() RETURNS trigger LANGUAGE plpgsql AS $$
           BEGIN RAISE EXCEPTION 'trial_looks is a ledger: rows are added, never changed or removed'; END $$"""
    )
    op.execute(
        """CREATE TRIGGER keep_trial_looks BEFORE UPDATE OR DELETE ON trial_looks
           FOR EACH ROW EXECUTE FUNCTION keep_trial_looks()"""
    )


def downgrade() -> None:
    op.drop_table("trial_looks")
    op.execute("DROP FUNCTION keep_trial_looks()")
