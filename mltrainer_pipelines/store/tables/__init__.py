"""The tables in PostgreSQL. Money is NUMERIC(18,6) in dollars, time is timestamptz, a session is a date.

A probability or a share of something is between 0 and 1, a score between 0 and 100; a return is a
fraction (0.05 is five per cent) and `net` means after the costs of both sides.
"""

from mltrainer_pipelines.store.tables.agent import AgentAction, AgentCall, AgentEvent, ChatMessage, ChatSession
from mltrainer_pipelines.store.tables.base import Base
from mltrainer_pipelines.store.tables.factors import Factor
from mltrainer_pipelines.store.tables.learning import (
    DriftCheck,
    LearningReport,
    ModelWeight,
    ModelWeightHistory,
    Outcome,
    Recalibration,
)
from mltrainer_pipelines.store.tables.operations import Alert, Notification, RuntimeSetting
from mltrainer_pipelines.store.tables.quarantine import Correction, QuarantinedRow
from mltrainer_pipelines.store.tables.requests import RunRequest
from mltrainer_pipelines.store.tables.trading import (
    LeaningPosition,
    PortfolioPerformance,
    Recommendation,
    SamplePosition,
    UserPosition,
    VirtualPosition,
)
from mltrainer_pipelines.store.tables.trials import (
    ChampionFile,
    LeaderboardRow,
    MarketSkill,
    Promotion,
    ProposalRun,
    Trial,
    TrialLook,
    TrialProposal,
    TrialScorecard,
)
