"""Whether what runs by itself is on before anybody switched it: yes, unless `MLTRAINER_AUTOMATION` asks for quiet."""

import dagster as dg

from mltrainer_pipelines.settings import get_settings

_on = get_settings().mltrainer_automation
SCHEDULES = dg.DefaultScheduleStatus.RUNNING if _on else dg.DefaultScheduleStatus.STOPPED
SENSORS = dg.DefaultSensorStatus.RUNNING if _on else dg.DefaultSensorStatus.STOPPED
